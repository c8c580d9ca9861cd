import {createHash} from 'node:crypto';
import dgram from 'node:dgram';
import {once} from 'node:events';
import http from 'node:http';
import net from 'node:net';
import test from 'ava';
import {finish, type Running, useDemo, waitFor} from '../helpers/e2e.ts';
import {freePort} from '../helpers/ports.ts';
import {useSession} from '../helpers/session.ts';

const demo = useDemo(test);
const session = useSession(test, demo);

async function tryConnect(port: number, host = '127.0.0.1'): Promise<net.Socket | undefined> {
  const socket = net.connect({host, port, allowHalfOpen: true});
  try {
    await once(socket, 'connect');
    return socket;
  } catch {
    return undefined;
  }
}

/** Connects from this machine as soon as there is a listener. */
async function connect(port: number, host?: string): Promise<net.Socket> {
  return await waitFor(`a listener on port ${port}`, () => tryConnect(port, host));
}

async function isRefused(port: number, host?: string): Promise<boolean> {
  const socket = await tryConnect(port, host);
  socket?.destroy();
  return socket === undefined;
}

/** All that a peer says until its end. */
async function readAll(socket: net.Socket): Promise<Buffer> {
  return Buffer.concat(await socket.toArray());
}

/** Starts the listener, and waits until it listens. */
async function startListener(host: string, port: number): Promise<Running> {
  const running = demo.startExec(['python3', demo.program('listener.py'), host, `${port}`]);
  await running.said(/^listening\n/);
  return running;
}

for (const [where, bound, client] of [
  ['127.0.0.1 only', '127.0.0.1', '127.0.0.1'],
  ['::1 only', '::1', '::1'],
  ['all IPv4 addresses', '0.0.0.0', '127.0.0.1'],
  ['all addresses', '::', '::1'],
  ["the pod's address only", '10.244.0.10', '10.244.0.10'],
] as const) {
  test.serial(`a server on ${where} is at the same port of this machine's loopback`, async (t) => {
    const port = await freePort();
    const running = await startListener(bound, port);
    for (const host of ['127.0.0.1', '::1']) {
      const socket = await connect(port, host);
      socket.end('hello\n');
      t.is(`${await readAll(socket)}`, `from ${client}\nhello\nbye\n`);
    }
    t.notRegex(await finish(running), /port/, 'a program on a free port is not talked about');
  });
}

test.serial('a published port is not open beyond loopback', async (t) => {
  const port = await freePort();
  const running = await startListener('0.0.0.0', port);
  (await connect(port)).destroy();
  t.true(await isRefused(port, '127.0.0.2'));
  await finish(running);
});

test.serial('a port goes with its listener, and comes back with it', async (t) => {
  const port = await freePort();
  const running = await startListener('127.0.0.1', port);
  const open = await connect(port);
  await once(open, 'readable'); // greeted: the program has accepted it
  running.child.stdin?.write('close\n');
  await running.said(/^listening\nclosed\n/);
  await waitFor('the port to be closed', () => isRefused(port));
  open.end('still here\n');
  t.is(`${await readAll(open)}`, 'from 127.0.0.1\nstill here\nbye\n');
  running.child.stdin?.write('open\n');
  (await connect(port)).destroy();
  await finish(running);
  t.true(await isRefused(port));
});

test.serial('a port that is in use here gets another number, which is said', async (t) => {
  const server = net
    .createServer((socket) => socket.resume().end('the other\n'))
    .listen(0, '127.0.0.1');
  await once(server, 'listening');
  const {port} = server.address() as net.AddressInfo;
  const running = await startListener('127.0.0.1', port);
  const said = new RegExp(
    `^mirrord: port ${port} of the program is at 127\\.0\\.0\\.1:(\\d+)\n`,
    'm',
  );
  const [, other] = await waitFor(
    'the number',
    () => said.exec(running.output.stderr) ?? undefined,
  );
  const socket = await connect(Number(other));
  socket.end();
  t.is(`${await readAll(socket)}`, 'from 127.0.0.1\nbye\n');
  t.is(`${await readAll((await connect(port)).end())}`, 'the other\n');
  await finish(running);
  server.close();
});

test.serial('a port that an ordinary user may not bind here gets another number', async (t) => {
  const running = await startListener('0.0.0.0', 7);
  const said = /port 7 of the program is at 127\.0\.0\.1:(\d+)\n/;
  const [, other] = await waitFor(
    'the number',
    () => said.exec(running.output.stderr) ?? undefined,
  );
  const socket = await connect(Number(other));
  socket.end();
  t.is(`${await readAll(socket)}`, 'from 127.0.0.1\nbye\n');
  await finish(running);
});

test.serial('two programs may listen on the same port', async (t) => {
  const port = await freePort();
  const first = await startListener('127.0.0.1', port);
  (await connect(port)).destroy();
  const second = await startListener('127.0.0.1', port);
  await waitFor('the number', () => /is at 127\.0\.0\.1:\d+/.test(second.output.stderr));
  t.notRegex(await finish(first), /port/);
  await finish(second);
});

/** Starts the listener with `listen_ports`. */
async function beginMapped(port: number, pairs: readonly number[][]): Promise<Running> {
  const config = JSON.stringify({feature: {network: {incoming: {listen_ports: pairs}}}});
  const file = `${demo.temporary}/listen-ports-${port}.json`;
  await demo.run(['sh', '-c', 'printf %s "$0" >"$1"', config, file]);
  const argv = ['python3', demo.program('listener.py'), '0.0.0.0', `${port}`];
  return demo.startExec(argv, {flags: ['-f', file]});
}

/** The same, and waits until it listens. */
async function startMapped(port: number, pairs: readonly number[][]): Promise<Running> {
  const running = await beginMapped(port, pairs);
  await running.said(/^listening\n/);
  return running;
}

test.serial('listen_ports: a port has the number here that it is given', async (t) => {
  const [inside, here] = [await freePort(), await freePort()];
  const running = await startMapped(inside, [[inside, here]]);
  const socket = await connect(here);
  socket.end('hello\n');
  t.is(`${await readAll(socket)}`, 'from 127.0.0.1\nhello\nbye\n');
  t.true(await isRefused(inside), 'its own number is nobody’s here');
  t.notRegex(await finish(running), /not available/);
});

test.serial('listen_ports: a number that is given to one port is kept for it', async (t) => {
  const [inside, here] = [await freePort(), await freePort()];
  const running = await startMapped(here, [[inside, here]]);
  await waitFor('another number', () => /is at 127\.0\.0\.1:\d+/.test(running.output.stderr));
  t.true(await isRefused(here));
  await finish(running);
});

test.serial('listen_ports: a number that is taken ends the program, and says so', async (t) => {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const {port: here} = server.address() as net.AddressInfo;
  const inside = await freePort();
  // It may not come to say that it listens.
  const running = await beginMapped(inside, [[inside, here]]);
  const {status, stderr} = await running.ended;
  t.is(status, 1);
  t.regex(
    stderr,
    new RegExp(`port ${inside} can't be at 127\\.0\\.0\\.1:${here}: another process`),
  );
  t.regex(stderr, /MIRRORD_LISTEN_PORT_TAKEN/);
});

test.serial('64 MiB come back unchanged', async (t) => {
  const port = await freePort();
  const running = await startListener('127.0.0.1', port);
  const socket = await connect(port);
  const greeting = 'from 127.0.0.1\n';
  const sent = createHash('sha256').update(greeting);
  const received = createHash('sha256');
  socket.on('data', (chunk: Buffer) => received.update(chunk));
  const block = Buffer.alloc(1024 ** 2);
  for (let i = 0; i < 64; i++) {
    block.writeUInt32BE(i, i);
    sent.update(block);
    if (!socket.write(Buffer.from(block))) await once(socket, 'drain');
  }
  socket.end();
  await once(socket, 'end');
  t.is(received.digest('hex'), sent.update('bye\n').digest('hex'));
  await finish(running);
});

test.serial('a connection that the program resets is reset', async (t) => {
  const port = await freePort();
  const running = await startListener('127.0.0.1', port);
  const socket = await connect(port);
  socket.resume().write('!');
  const [error] = (await once(socket, 'error')) as [NodeJS.ErrnoException];
  t.is(error.code, 'ECONNRESET');
  await finish(running);
});

test.serial('a connection that is reset here is reset for the program', async (t) => {
  const port = await freePort();
  const running = await startListener('127.0.0.1', port);
  const socket = await connect(port);
  await once(socket, 'readable');
  socket.resetAndDestroy();
  await running.said(/was reset\n/);
  await finish(running);
  t.pass();
});

test.serial("Python's own web server is reached", async (t) => {
  const port = await freePort();
  const running = demo.startExec(['python3', '-m', 'http.server', `${port}`], {cwd: '/usr/share'});
  (await connect(port)).destroy();
  t.regex(await (await fetch(`http://localhost:${port}/`)).text(), /Directory listing for/);
  running.child.kill('SIGINT');
  await running.ended;
});

test.serial("node's inspector can be attached to from here", async (t) => {
  const port = await freePort();
  const script = 'process.stdin.resume()';
  const running = demo.startExec([process.execPath, `--inspect=127.0.0.1:${port}`, '-e', script]);
  (await connect(port)).destroy();
  const version = (await (await fetch(`http://127.0.0.1:${port}/json/version`)).json()) as object;
  t.like(version, {Browser: `node.js/${process.version}`});
  const [target] = (await (await fetch(`http://127.0.0.1:${port}/json/list`)).json()) as {
    webSocketDebuggerUrl: string;
  }[];
  const debug = new WebSocket(target?.webSocketDebuggerUrl ?? '');
  const expression = "process.getBuiltinModule('os').hostname()";
  debug.onopen = () =>
    debug.send(JSON.stringify({id: 1, method: 'Runtime.evaluate', params: {expression}}));
  const [{data}] = (await once(debug, 'message')) as [{data: string}];
  t.is(JSON.parse(data).result.result.value, 'gateway');
  debug.close();
  running.child.stdin?.end();
  await running.ended;
});

test.serial("Java's debugger port answers the handshake", async (t) => {
  const port = await freePort();
  const agent = `-agentlib:jdwp=transport=dt_socket,server=y,suspend=y,address=127.0.0.1:${port}`;
  const running = demo.startExec(['java', agent, '-version']);
  const socket = await connect(port);
  socket.write('JDWP-Handshake');
  const [answer] = (await once(socket, 'data')) as [Buffer];
  t.is(`${answer.subarray(0, 14)}`, 'JDWP-Handshake');
  running.child.kill('SIGKILL'); // a suspended virtual machine hears nothing else
  await running.ended;
});

for (const [family, host] of [
  ['IPv4', '127.0.0.1'],
  ['IPv6', '::1'],
] as const) {
  test.serial(`host.mirrord.internal is this machine's loopback (${family} server)`, async (t) => {
    const server = http.createServer((_request, answer) => answer.end('this machine'));
    await once(server.listen(0, host), 'listening');
    const {port} = server.address() as net.AddressInfo;
    const url = `http://host.mirrord.internal:${port}/`;
    for (const flag of ['-4', '-6']) {
      t.is(await session.exec(['curl', '-sS', flag, url]), 'this machine');
    }
    server.close();
  });

  test.serial(`host.mirrord.internal takes datagrams (${family})`, async (t) => {
    const type = family === 'IPv4' ? 'udp4' : 'udp6';
    const socket = dgram.createSocket(type);
    socket.on('message', (message, from) => socket.send(`${message}!`, from.port, from.address));
    socket.bind(0, host);
    await once(socket, 'listening');
    const {port} = socket.address();
    const script = [
      'import socket, sys',
      'family = socket.AF_INET if sys.argv[1] == "IPv4" else socket.AF_INET6',
      'name = ("host.mirrord.internal", int(sys.argv[2]))',
      'to = socket.getaddrinfo(*name, family, socket.SOCK_DGRAM)[0][4]',
      's = socket.socket(family, socket.SOCK_DGRAM)',
      's.settimeout(30)',
      's.sendto(b"ping", to)',
      'data, sender = s.recvfrom(100)',
      'print(data.decode(), sender[:2] == to[:2])',
    ].join('\n');
    t.is(await session.exec(['python3', '-c', script, family, `${port}`]), 'ping! True\n');
    socket.close();
  });
}

test.serial("host.mirrord.internal refuses what this machine's loopback refuses", async (t) => {
  const port = await freePort();
  const url = `http://host.mirrord.internal:${port}/`;
  const {status, stderr} = await session.run(['curl', '-sS', url]);
  t.is(status, 7, stderr);
});

test.serial('a datagram that nobody here takes fails with ECONNREFUSED', async (t) => {
  const port = await freePort();
  const script = [
    'import socket, sys',
    's = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)',
    's.settimeout(30)',
    's.connect(("host.mirrord.internal", int(sys.argv[1])))',
    's.send(b"ping")',
    'try: s.recv(1)',
    'except OSError as e: print(e.strerror)',
  ].join('\n');
  t.is(await session.exec(['python3', '-c', script, `${port}`]), 'Connection refused\n');
});
