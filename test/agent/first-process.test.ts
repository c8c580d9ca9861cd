/** The first process of an agent's container: `launcher enter --first`. */

import {type ChildProcess, spawn} from 'node:child_process';
import {once} from 'node:events';
import {connect} from 'node:net';
import {machine} from 'node:os';
import {fileURLToPath} from 'node:url';
import test, {type ExecutionContext} from 'ava';
import {freePort} from '../helpers/ports.ts';
import {signal} from '../helpers/processes.ts';

const LAUNCHER = fileURLToPath(new URL(`../../build/linux-${machine()}/launcher`, import.meta.url));

/** Runs a script in the agent's place. */
function run(t: ExecutionContext, script: string, port?: number): ChildProcess {
  const listen = port === undefined ? [] : ['--listen', `${port}`, '10', '11'];
  const argv = ['enter', `${process.pid}`, '--first', ...listen, '--', 'sh', '-c', script];
  const child = spawn(LAUNCHER, argv, {stdio: ['pipe', 'pipe', 'inherit']});
  t.teardown(() => child.kill('SIGKILL'));
  return child;
}

async function said(child: ChildProcess): Promise<string> {
  const [text] = await once(child.stdout?.setEncoding('utf8') ?? child, 'data');
  return `${text}`.trim();
}

test('it ends as its child does', async (t) => {
  t.deepEqual(await once(run(t, 'exit 7'), 'exit'), [7, null]);
  t.deepEqual(await once(run(t, 'kill -9 $$'), 'exit'), [137, null]);
});

test('it passes signals on', async (t) => {
  const child = run(t, 'trap "exit 3" TERM; echo ready; read -r line');
  await said(child);
  signal(child, 'SIGTERM');
  t.deepEqual(await once(child, 'exit'), [3, null]);
});

test('it stays for what its child leaves, and tells who asks for the agent', async (t) => {
  const port = await freePort();
  const child = run(t, 'exec 3<&0; { read -r line <&3; } & echo left; kill -9 $$', port);
  t.is(await said(child), 'left');
  const asking = connect(port, '127.0.0.1');
  asking.write('GET /ready HTTP/1.1\r\nhost: agent\r\n\r\n');
  t.regex(Buffer.concat(await asking.toArray()).toString(), /^HTTP\/1\.1 410 Gone\r\n/);
  t.is(child.exitCode, null);
  child.stdin?.end();
  t.deepEqual(await once(child, 'exit'), [137, null]);
});

test('its child gets SIGTERM when it is killed', async (t) => {
  const child = run(t, 'trap "echo ended; exit" TERM; echo ready; read -r line');
  await said(child);
  signal(child, 'SIGKILL');
  t.is(await said(child), 'ended');
});
