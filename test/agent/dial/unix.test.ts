import {once} from 'node:events';
import {mkdtempSync, rmSync} from 'node:fs';
import {createServer, type Socket} from 'node:net';
import os from 'node:os';
import {join} from 'node:path';
import test, {type ExecutionContext} from 'ava';
import {emitUnix, type UnixSocket} from '../../../tunnel/messages.ts';
import type {Mux} from '../../../tunnel/mux.ts';
import type {MuxStream} from '../../../tunnel/types.ts';
import {startAgent, WaitingEar} from '../../helpers/agent.ts';
import {feed, pattern} from '../../helpers/tunnel.ts';
import {until} from '../../helpers/until.ts';

function dial(
  layer: Mux,
  socket: UnixSocket,
  options: {consume?: boolean} = {},
): {stream: MuxStream; ear: WaitingEar} {
  const ear = new WaitingEar(options);
  ear.stream = layer.open('unix', emitUnix(socket), ear);
  return {stream: ear.stream, ear};
}

let names = 0;

/** A server on a unix socket: by a path, or by an abstract name. */
async function listen(
  t: ExecutionContext,
  onConnection: (socket: Socket) => unknown,
  isAbstract = false,
): Promise<UnixSocket> {
  const directory = mkdtempSync(join(os.tmpdir(), 'mirrord-unix-'));
  const name = isAbstract ? `\0mirrord-test-${process.pid}-${names++}` : join(directory, 's');
  const sockets = new Set<Socket>();
  const server = createServer({allowHalfOpen: true}, (socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    onConnection(socket);
  }).listen(name);
  await once(server, 'listening');
  t.teardown(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
    rmSync(directory, {recursive: true});
  });
  return {type: 'stream', name};
}

test('the socket at which agents meet is not for programs', async (t) => {
  const {layer} = await startAgent(t);
  // A name of another version, so that no agent of this machine is disturbed.
  const name = '\0mirrord/incoming/test';
  const server = createServer((socket) => socket.destroy()).listen(name);
  t.teardown(() => server.close());
  await once(server, 'listening');
  const {ear} = dial(layer, {type: 'stream', name});
  t.is(await ear.event('refused'), 'refused ECONNREFUSED');
});

test('bytes come back from an echo server, by path and by abstract name', async (t) => {
  const {layer} = await startAgent(t);
  for (const isAbstract of [false, true]) {
    const target = await listen(t, (socket) => socket.pipe(socket), isAbstract);
    const {stream, ear} = dial(layer, target);
    const bytes = pattern(3_000_000);
    feed(stream, ear, bytes, () => stream.end());
    await ear.event('close');
    t.true(ear.bytes.equals(bytes));
    t.deepEqual(ear.events, ['opened', 'end', 'close']);
  }
  t.is(layer.streamCount, 0);
});

test('early bytes and an early end reach the server, and its answer comes', async (t) => {
  const {layer} = await startAgent(t);
  const target = await listen(t, async (socket) => {
    let text = '';
    for await (const chunk of socket) text += chunk;
    socket.end(text.toUpperCase());
  });
  const {stream, ear} = dial(layer, target);
  stream.write(Buffer.from('early'));
  stream.end();
  await ear.event('close');
  t.is(String(ear.bytes), 'EARLY');
});

test('what keeps a connect from succeeding is told by its errno', async (t) => {
  const {layer} = await startAgent(t);
  const dead = mkdtempSync(join(os.tmpdir(), 'mirrord-unix-'));
  t.teardown(() => rmSync(dead, {recursive: true}));
  for (const [type, name, errno] of [
    ['stream', `${dead}/missing`, 'ENOENT'],
    ['stream', dead, 'ECONNREFUSED'],
    ['stream', '\0mirrord-test-nobody', 'ECONNREFUSED'],
    ['seqpacket', '\0mirrord-test-nobody', 'ECONNREFUSED'],
    ['seqpacket', `${dead}/missing`, 'ENOENT'],
  ] as const) {
    const {ear} = dial(layer, {type, name});
    t.is(await ear.event('refused'), `refused ${errno}`, `${type} ${name}`);
  }
});

test('records are refused by a server of bytes', async (t) => {
  const {layer} = await startAgent(t);
  const {name} = await listen(t, () => {});
  const {ear} = dial(layer, {type: 'seqpacket', name});
  t.is(await ear.event('refused'), 'refused EPROTOTYPE');
});

test('connections that a server is too slow for wait for it', async (t) => {
  const {layer} = await startAgent(t);
  const name = `\0mirrord-test-${process.pid}-${names++}`;
  const server = createServer((socket) => socket.end('hello')).listen({path: name, backlog: 1});
  t.teardown(() => server.close());
  await once(server, 'listening');
  const dialled = Array.from({length: 50}, () => dial(layer, {type: 'stream', name}));
  for (const {stream, ear} of dialled) {
    await ear.event('opened');
    await ear.event('end');
    t.is(String(ear.bytes), 'hello');
    stream.end();
  }
});

test('a layer that does not read stops the server', async (t) => {
  const {layer} = await startAgent(t);
  const accepted = Promise.withResolvers<Socket>();
  const target = await listen(t, accepted.resolve);
  const {stream, ear} = dial(layer, target, {consume: false});
  const socket = await accepted.promise;
  const total = 8_000_000;
  socket.end(pattern(total));
  await ear.until(() => ear.bytes.length > 0);
  const received = (): number => ear.bytes.length;
  let last = -1;
  await until(async () => {
    if (received() === last) return true;
    last = received();
    await new Promise((resolve) => setTimeout(resolve, 100));
    return received() === last;
  });
  t.true(received() < total / 2, `${received()}`);
  t.true(socket.writableLength > 0);
  stream.reset('ECANCELED');
  await until(() => socket.destroyed);
});

test('a reset of either side ends the other', async (t) => {
  const {layer} = await startAgent(t);
  const accepted = Promise.withResolvers<Socket>();
  const target = await listen(t, accepted.resolve);
  const {stream, ear} = dial(layer, target);
  const socket = await accepted.promise;
  await ear.event('opened');
  stream.reset('ECONNRESET');
  socket.resume();
  await once(socket, 'end');
  t.is(layer.streamCount, 0);
});
