import {chmodSync, existsSync, mkdirSync, readdirSync, rmSync, statSync} from 'node:fs';
import net from 'node:net';
import {join} from 'node:path';
import test from 'ava';
import type {SessionInfo} from '../../layer/sessions/session-server.ts';
import {type Result, type Running, type RunOptions, useDemo, waitFor} from '../helpers/e2e.ts';
import {namespaceOf, processEntry, processTree} from '../helpers/processes.ts';

const demo = useDemo(test);
const directory = join(demo.runtime, 'mirrord/sessions');

// A session that a failed test has left would fail those after it too.
test.serial.afterEach.always(async () => {
  if (sockets().length > 0) await demo.mirrord(['session', 'stop', '--all']);
});

function sockets(): string[] {
  if (!existsSync(directory)) return [];
  return readdirSync(directory).filter((name) => name.endsWith('.sock'));
}

async function list(): Promise<SessionInfo[]> {
  const {status, stdout, stderr} = await demo.mirrord(['session', 'list', '-o', 'json']);
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as SessionInfo[];
}

/** Starts a program that runs until its input ends, and waits until its session is known. */
async function startSession(
  argv: readonly string[] = ['cat'],
): Promise<{running: Running; session: SessionInfo}> {
  const before = sockets();
  const running = demo.startExec(argv);
  const session = await waitFor('a session', async () => {
    if (sockets().every((name) => before.includes(name))) return undefined;
    const launchers = processTree(running.pid).map(({pid}) => pid);
    return (await list()).find(({launcherPid}) => launchers.includes(launcherPid));
  });
  return {running, session};
}

function startJoined({id}: SessionInfo, argv: readonly string[], options?: RunOptions): Running {
  return demo.start([demo.mirrordPath, 'exec', '--join', id, '--', ...argv], options);
}

async function runJoined(session: SessionInfo, ...argv: string[]): Promise<Result> {
  return await startJoined(session, argv, {input: ''}).ended;
}

async function finish({child, ended}: Running): Promise<Result> {
  child.stdin?.end();
  return await ended;
}

test.serial('a session is listed while its program runs', async (t) => {
  const {running, session} = await startSession(['sh', '-c', 'echo ready; exec cat']);
  t.like(session, {target: 'demo/gateway', command: ['sh', '-c', 'echo ready; exec cat']});
  t.is(processEntry(session.pid)?.command, 'cat');
  const {stdout} = await demo.mirrord(['session', 'list']);
  t.regex(
    stdout,
    new RegExp(`^SESSION .*\n${session.id}  demo/gateway  ${session.pid} .*exec cat\n$`),
  );
  t.is((await demo.mirrord(['sessions'])).stdout, stdout, 'in mirrord’s words');
  await finish(running);
  t.deepEqual(await list(), []);
  t.false(existsSync(directory));
});

test.serial('its socket is for its user only', async (t) => {
  const {running, session} = await startSession();
  t.is(statSync(join(directory, `${session.id}.sock`)).mode & 0o777, 0o600);
  t.is(statSync(directory).mode & 0o777, 0o700);
  await finish(running);
});

test.serial('only the ports of the program are listed', async (t) => {
  const {running, session} = await startSession([
    'python3',
    demo.program('listener.py'),
    '::1',
    '7',
  ]);
  const [first] = await waitFor('a port', async () => {
    const ports = (await list()).find(({id}) => id === session.id)?.ports ?? [];
    return ports.length > 0 && ports;
  });
  t.is(first?.port, 7);
  t.is((await list())[0]?.ports.length, 1);
  await finish(running);
});

test.serial("a joined program is in the session's namespaces, without rights there", async (t) => {
  const {running, session} = await startSession();
  const joined = startJoined(session, [
    'sh',
    '-c',
    'hostname; grep CapEff /proc/$$/status; exec cat',
  ]);
  await joined.said(/^gateway\nCapEff:\t0+\n$/);
  const program = processTree(joined.pid).find(({command}) => command === 'cat');
  for (const kind of ['user', 'net', 'uts', 'mnt']) {
    t.is(namespaceOf(program?.pid ?? 0, kind), namespaceOf(session.pid, kind));
  }
  t.is((await finish(joined)).status, 0);
  await finish(running);
});

test.serial("a joined program has the pod's network and environment", async (t) => {
  const {running, session} = await startSession();
  const {stdout} = await runJoined(session, 'curl', '-sS', 'http://orders/');
  t.regex(stdout, /"pod":"orders-\d"/);
  const environment = (await runJoined(session, 'env')).stdout.split('\n');
  t.true(environment.includes('POD_NAME=gateway'));
  t.true(environment.includes(`HOME=${join(demo.directory, 'home')}`));
  t.is(environment.filter((line) => line.startsWith('PATH=')).length, 1);
  await finish(running);
});

test.serial(
  "a joined program reaches the first one's loopback, and may listen itself",
  async (t) => {
    const program = demo.program('listener.py');
    const {running, session} = await startSession(['python3', program, '127.0.0.1', '7801']);
    await running.said(/^listening\n/);
    const script = [
      'import socket',
      's = socket.create_connection(("127.0.0.1", 7801), timeout=30)',
      's.shutdown(socket.SHUT_WR)',
      'print(s.makefile().read())',
    ].join('\n');
    const {stdout} = await runJoined(session, 'python3', '-c', script);
    t.is(stdout, 'from 127.0.0.1\nbye\n\n');
    const joined = startJoined(session, ['python3', program, '127.0.0.1', '7802']);
    const ports = await waitFor('two ports', async () => {
      const found = (await list()).find(({id}) => id === session.id)?.ports ?? [];
      return found.length === 2 && found;
    });
    const socket = net.connect(ports[1]?.hostPort ?? 0, '127.0.0.1').end();
    t.is(`${Buffer.concat(await socket.toArray())}`, 'from 127.0.0.1\nbye\n');
    await finish(joined);
    await finish(running);
  },
);

test.serial("a joined program's status and input are its mirrord's", async (t) => {
  const {running, session} = await startSession();
  t.is((await runJoined(session, 'sh', '-c', 'exit 7')).status, 7);
  t.is((await runJoined(session, 'no-such-program')).status, 127);
  const joined = startJoined(session, ['cat'], {input: 'hello\n'});
  t.is((await joined.ended).stdout, 'hello\n');
  const signalled = startJoined(session, ['sh', '-c', 'echo ready; exec sleep 600']);
  await signalled.said(/ready/);
  signalled.child.kill('SIGTERM');
  t.is((await signalled.ended).status, 143);
  await finish(running);
});

test.serial('a joined program ends with the session', async (t) => {
  const {running, session} = await startSession();
  const joined = startJoined(session, ['sh', '-c', 'echo ready; exec sleep 600']);
  await joined.said(/ready/);
  await finish(running);
  const {status, stderr} = await joined.ended;
  t.is(status, 1);
  t.regex(stderr, /MIRRORD_SESSION_ENDED/);
});

test.serial('a joined program ends with its mirrord; the session goes on', async (t) => {
  const {running, session} = await startSession();
  const joined = startJoined(session, ['sh', '-c', 'echo $$; exec sleep 600']);
  const pid = Number((await joined.said(/^(\d+)\n/))[1]);
  joined.child.kill('SIGKILL');
  await waitFor('the program to be gone', () => (processEntry(pid)?.state ?? 'Z') === 'Z');
  t.is((await runJoined(session, 'true')).status, 0);
  await finish(running);
});

test.serial("a killed session's joined program ends, and its socket is removed", async (t) => {
  const {running, session} = await startSession();
  const joined = startJoined(session, ['sh', '-c', 'echo ready; exec sleep 600']);
  await joined.said(/ready/);
  running.child.kill('SIGKILL');
  t.regex((await joined.ended).stderr, /MIRRORD_SESSION_ENDED/);
  await waitFor('the directory to be removed', () => !existsSync(directory));
});

test.serial("a killed session's directory stays while another session is there", async (t) => {
  const [killed, other] = [await startSession(), await startSession()];
  killed.running.child.kill('SIGKILL');
  const socketOf = ({session: {id}}: typeof killed) => join(directory, `${id}.sock`);
  await waitFor('the socket to be removed', () => !existsSync(socketOf(killed)));
  t.true(existsSync(socketOf(other)));
  t.is((await runJoined(other.session, 'true')).status, 0);
  await finish(other.running);
  t.false(existsSync(directory));
});

for (const next of ['session list', 'exec'] as const) {
  test.serial(`${next} removes the socket of a session killed with its launcher`, async (t) => {
    const {running, session} = await startSession();
    // Stopped, it can't notice that mirrord goes.
    process.kill(session.launcherPid, 'SIGSTOP');
    running.child.kill('SIGKILL');
    await waitFor('mirrord to be gone', () => (processEntry(running.pid)?.state ?? 'Z') === 'Z');
    process.kill(session.launcherPid, 'SIGKILL');
    const socket = join(directory, `${session.id}.sock`);
    t.true(existsSync(socket));
    if (next === 'exec') {
      const other = demo.startExec(['cat']);
      await waitFor('the socket to be removed', () => !existsSync(socket));
      await finish(other);
    } else {
      t.deepEqual(await list(), []);
    }
    t.false(existsSync(directory));
  });
}

test.serial('stop ends the program by SIGTERM, and returns when the session is over', async (t) => {
  const {running, session} = await startSession();
  const {status, stdout, stderr} = await demo.mirrord(['session', 'stop', session.id.slice(0, 6)]);
  t.deepEqual({status, stdout, stderr}, {status: 0, stdout: '', stderr: ''});
  t.deepEqual(await list(), []);
  t.is((await running.ended).status, 143);
});

test.serial('stop ends a program that ignores SIGTERM too', async (t) => {
  const {running, session} = await startSession(['sh', '-c', 'trap "" TERM; exec cat']);
  t.is((await demo.mirrord(['session', 'stop', session.id])).status, 0);
  t.is((await running.ended).status, 137);
});

test.serial('stop --all ends all', async (t) => {
  const sessions = [await startSession(), await startSession()];
  t.is((await demo.mirrord(['session', 'stop', '--all'])).status, 0);
  for (const {running} of sessions) t.is((await running.ended).status, 143);
  t.deepEqual(await list(), []);
});

test.serial('a session that is not there is an error', async (t) => {
  for (const args of [
    ['session', 'stop', 'abcd'],
    ['exec', '--join', 'abcd', '--', 'true'],
  ]) {
    const {status, stderr} = await demo.mirrord(args);
    t.is(status, 1);
    t.regex(
      stderr,
      /no session abcd \[MIRRORD_SESSION_NOT_FOUND\]\n {2}→ see: mirrord session list/,
    );
  }
});

test.serial("a session's directory that others can enter is not used", async (t) => {
  mkdirSync(directory, {recursive: true});
  chmodSync(directory, 0o755);
  t.is(await demo.exec(['echo', 'runs all the same']), 'runs all the same\n');
  const {status, stderr} = await demo.mirrord(['session', 'list']);
  t.is(status, 1);
  t.regex(stderr, /MIRRORD_SESSIONS_UNSAFE/);
  rmSync(directory, {recursive: true});
});
