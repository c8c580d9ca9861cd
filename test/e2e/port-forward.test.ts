/** `mirrord port-forward` on the embedded cluster. */

import {once} from 'node:events';
import {createServer} from 'node:http';
import net from 'node:net';
import test, {type ExecutionContext} from 'ava';
import {type Running, useDemo, waitFor} from '../helpers/e2e.ts';
import {Gateway, gatewayAddress} from '../helpers/gateway.ts';
import {freePort} from '../helpers/ports.ts';
import {allProcesses} from '../helpers/processes.ts';

const demo = useDemo(test);
const gateway = new Gateway(demo);

/** Starts it, and waits until it says that it forwards. */
async function start(t: ExecutionContext, ...flags: string[]): Promise<Running> {
  const running = demo.start([demo.mirrordPath, 'port-forward', '-t', 'demo/gateway', ...flags]);
  t.teardown(() => running.child.kill('SIGKILL'));
  await waitFor('it to be ready', () => {
    if (running.child.exitCode !== null) throw new Error(running.output.stderr);
    return /leads to|comes to/.test(running.output.stderr);
  });
  return running;
}

async function finish(running: Running): Promise<string> {
  running.child.kill('SIGINT');
  const {status, stderr} = await running.ended;
  if (status !== 0) throw new Error(`status ${status}: ${stderr}`);
  return stderr;
}

async function fetchText(port: number, path = '/'): Promise<string> {
  return await (await fetch(`http://127.0.0.1:${port}${path}`)).text();
}

/** Asks the gateway from another pod. */
async function ask(path: string): Promise<string> {
  const url = `http://${gatewayAddress}${path}`;
  return (await gateway.byClient('curl', '-s', '-m', '5', url)).stdout;
}

test.serial(
  '-L: a Service by its short name, the pod’s own localhost, and an address',
  async (t) => {
    const [service, own, address] = [await freePort(), await freePort(), await freePort()];
    const running = await start(
      t,
      ...['-L', `${service}:orders:80`],
      ...['-L', `${own}:localhost:80,${address}:${(await gateway.client()).addresses.v4}:8080`],
    );
    t.regex(await fetchText(service), /"pod":"orders-/);
    t.regex(await fetchText(own, '/here'), /"pod":"gateway".*"path":"\/here"/);
    t.regex(await fetchText(address), /"pod":"orders-0"/);
    const children = allProcesses().filter(({parent}) => parent === running.pid);
    t.deepEqual(
      children.filter(({command}) => command.includes('launcher')),
      [],
      'no namespace is made here',
    );
    t.regex(await finish(running), new RegExp(`127\\.0\\.0\\.1:${service} leads to orders:80`));
  },
);

test.serial('-L: 16 MiB and a half-close cross both ways; a refusal is a reset', async (t) => {
  const [echo, refused] = [await freePort(), await freePort()];
  const listener = ['python3', demo.program('listener.py'), '127.0.0.1', '4321'];
  const server = demo.start(demo.entering(await gateway.pod(), listener));
  t.teardown(() => server.child.kill('SIGKILL'));
  await server.said(/listening/);
  const running = await start(t, '-L', `${echo}:127.0.0.1:4321`, '-L', `${refused}:localhost:4322`);
  const socket = net.connect({port: echo, host: '127.0.0.1', allowHalfOpen: true});
  const [greeting] = (await once(socket, 'data')) as [Buffer];
  t.is(`${greeting}`, 'from 127.0.0.1\n', 'a server may speak first');
  const sent = Buffer.alloc(16 << 20, 'abcdefg');
  socket.end(sent);
  const received = Buffer.concat(await socket.toArray());
  t.true(received.equals(Buffer.concat([sent, Buffer.from('bye\n')])));
  const [error] = (await once(net.connect(refused, '127.0.0.1'), 'error')) as [Error];
  t.regex(error.message, /ECONNRESET/);
  t.regex(await finish(running), /localhost:4322 can't be reached from the pod: ECONNREFUSED/);
});

test.serial(
  '-L: a name that nobody knows is told; a port that is taken, before an agent starts',
  async (t) => {
    const port = await freePort();
    const running = await start(t, '-L', `${port}:nobody.invalid:80`);
    const taken = await demo.mirrord([
      'port-forward',
      '-t',
      'demo/gateway',
      '-L',
      `${port}:orders:80`,
    ]);
    t.is(taken.status, 1);
    t.regex(taken.stderr, /MIRRORD_LOCAL_PORT_TAKEN/);
    await once(net.connect(port, '127.0.0.1'), 'error');
    t.regex(await finish(running), /nobody\.invalid:80 can't be reached .*knows no such name/);
  },
);

for (const [mode, flags] of [
  ['mirror', []],
  ['steal', ['--steal']],
] as const) {
  test.serial(`-R, ${mode}: a port of the pod comes to one of this machine`, async (t) => {
    const asked: string[] = [];
    const server = createServer((request, response) => {
      asked.push(request.url ?? '');
      response.end('this machine\n');
    }).listen(0, '127.0.0.1');
    t.teardown(() => server.close());
    await once(server, 'listening');
    const {port} = server.address() as net.AddressInfo;
    const running = await start(t, '-R', `80:${port}`, ...flags);
    const answer = await ask('/asked');
    if (mode === 'steal') t.is(answer, 'this machine\n');
    else t.regex(answer, /"pod":"gateway"/);
    await waitFor('the request', () => asked.length > 0);
    t.deepEqual(asked, ['/asked']);
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
    t.regex(await ask('/nobody'), /"pod":"gateway"/, 'what nobody takes is the application’s');
    await finish(running);
    t.regex(await ask('/after'), /"pod":"gateway"/);
  });
}

test.serial('what can’t be forwarded is told', async (t) => {
  const forward = async (...flags: string[]) =>
    (await demo.mirrord(['port-forward', ...flags])).stderr;
  t.regex(await forward('-t', 'demo/gateway'), /MIRRORD_NOTHING_TO_FORWARD/);
  t.regex(await forward('-t', 'targetless', '-R', '80'), /MIRRORD_TARGET_MISSING/);
});
