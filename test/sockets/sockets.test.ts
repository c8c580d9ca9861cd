import {spawn} from 'node:child_process';
import {once} from 'node:events';
import {connect, createServer, type Server, type Socket} from 'node:net';
import test, {type ExecutionContext} from 'ava';
import {DuplexSocket} from '../../sockets/duplex-socket.ts';
import {adoptSocket, connectNative, type NativeSocket} from '../../sockets/native-socket.ts';
import {socketOf} from '../../sockets/of-stream.ts';
import type {SocketHandler, StreamSocket} from '../../sockets/types.ts';
import {socketPair} from '../helpers/agent.ts';
import {pattern} from '../helpers/tunnel.ts';
import {until} from '../helpers/until.ts';

const LOOPBACK = new Uint8Array([127, 0, 0, 1]);
const MEBIBYTE = 1024 ** 2;

/** Hears what happens, and keeps a copy of what comes. */
class Listener implements SocketHandler {
  readonly events: string[] = [];
  readonly #chunks: Buffer[] = [];

  get bytes(): Buffer {
    return Buffer.concat(this.#chunks);
  }

  onConnect(): void {
    this.events.push('connect');
  }

  onData(bytes: Uint8Array): void {
    this.#chunks.push(Buffer.from(bytes));
  }

  onEnd(): void {
    this.events.push('end');
  }

  onClose(error: NodeJS.ErrnoException | undefined): void {
    this.events.push(`close ${error?.code ?? 'in order'}`);
  }
}

async function serve(t: ExecutionContext, handle: (socket: Socket) => void): Promise<number> {
  const server: Server = createServer({allowHalfOpen: true}, (socket) => {
    socket.on('error', () => undefined);
    handle(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

function native(port: number): {socket: NativeSocket; heard: Listener} {
  const socket = connectNative({address: LOOPBACK, port}, 60_000);
  if (socket === undefined) throw new Error('the addon is not built');
  const heard = new Listener();
  socket.handler = heard;
  return {socket, heard};
}

/** The same behaviour, whoever reads and writes. */
const kinds: Readonly<Record<string, (socket: Socket) => StreamSocket>> = {
  'the addon': (socket) => {
    const adopted = adoptSocket(socket);
    if (adopted === undefined) throw new Error('not adopted');
    return adopted;
  },
  Node: (socket) => new DuplexSocket(socket),
};

for (const [kind, take] of Object.entries(kinds)) {
  test(`${kind}: bytes come out as they went in, both ways, each direction with its end`, async (t) => {
    const [other, one] = await socketPair();
    const heard = new Listener();
    const socket = take(one);
    socket.handler = heard;
    socket.readBytes = 65_536;
    const bytes = pattern(3_000_000);
    const there: Buffer[] = [];
    other.on('data', (chunk: Buffer) => there.push(chunk));
    other.end(bytes);
    let written = 0;
    for (let at = 0; at < bytes.length; at += 100_000) {
      const piece = bytes.subarray(at, at + 100_000);
      socket.write(piece, () => {
        written += piece.length;
      });
    }
    socket.end();
    await until(() => heard.events.at(-1) === 'close in order');
    await until(() => Buffer.concat(there).length === bytes.length);
    t.true(Buffer.concat(there).equals(bytes));
    t.true(heard.bytes.equals(bytes));
    t.is(written, bytes.length);
    t.deepEqual(heard.events, ['end', 'close in order']);
  });

  test(`${kind}: what is written and flushed while bytes are told of is written once`, async (t) => {
    const [other, one] = await socketPair();
    const socket = take(one);
    const heard = new Listener();
    socket.handler = Object.assign(heard, {
      onData() {
        socket.writeLent(Buffer.from('a'));
        socket.flush();
        socket.writeLent(Buffer.from('b'));
        socket.flush();
        socket.writeLent(Buffer.from('c'));
      },
      onEnd: () => socket.end(),
    });
    socket.readBytes = 65_536;
    other.end('x');
    let said = '';
    for await (const chunk of other) said += chunk;
    t.is(said, 'abc');
    t.is(socket.bufferedBytes, 0);
  });

  test(`${kind}: lent memory may be used again when the turn is over`, async (t) => {
    const [other, one] = await socketPair();
    const socket = take(one);
    other.pause();
    const lent = new Uint8Array(10_000);
    const expected: Buffer[] = [];
    for (let round = 0; round < 1000; round++) {
      lent.fill(round);
      const piece = lent.subarray(0, 1 + ((round * 7919) % lent.length));
      expected.push(Buffer.from(piece));
      socket.writeLent(piece);
      if (round % 10 === 0) await new Promise(setImmediate);
      else await new Promise<void>((resolve) => process.nextTick(resolve));
    }
    t.true(socket.bufferedBytes > 0, 'the kernel did not take all of it');
    const got: Buffer[] = [];
    other.on('data', (chunk: Buffer) => got.push(chunk)).resume();
    socket.end();
    await once(other, 'end');
    t.true(Buffer.concat(got).equals(Buffer.concat(expected)));
    t.is(socket.bufferedBytes, 0);
    other.destroy();
    socket.destroy();
  });

  test(`${kind}: nothing is read while no bytes are wanted`, async (t) => {
    const [other, one] = await socketPair();
    const heard = new Listener();
    const socket = take(one);
    socket.handler = heard;
    other.write('early');
    // A turn of the loop in which it could be read.
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
    t.is(heard.bytes.length, 0);
    socket.readBytes = 1000;
    await until(() => String(heard.bytes) === 'early');
    socket.destroy();
    other.destroy();
    t.is(heard.events.length <= 1, true);
  });
}

test('a connection tells when it is there, and its own address', async (t) => {
  const accepted = Promise.withResolvers<Socket>();
  const {socket, heard} = native(await serve(t, accepted.resolve));
  const peer = await accepted.promise;
  await until(() => heard.events.length > 0);
  t.deepEqual(heard.events, ['connect']);
  t.deepEqual(socket.localEndpoint(), {address: LOOPBACK, port: peer.remotePort ?? 0});
  socket.destroy();
  peer.destroy();
});

test('what is written before a connection is there follows it', async (t) => {
  const got = Promise.withResolvers<Buffer>();
  const {socket} = native(await serve(t, (peer) => peer.once('data', got.resolve)));
  socket.writeLent(new Uint8Array([1, 2, 3]));
  t.deepEqual([...(await got.promise)], [1, 2, 3]);
  socket.destroy(true);
});

test('a refused connection says so, at once or later', async (t) => {
  const port = await serve(t, () => undefined);
  const unused = createServer().listen(0, '127.0.0.1');
  await once(unused, 'listening');
  const address = unused.address();
  const free = typeof address === 'object' && address !== null ? address.port : port;
  unused.close();
  await once(unused, 'close');
  try {
    const {heard} = native(free);
    await until(() => heard.events.length > 0);
    t.deepEqual(heard.events, ['close ECONNREFUSED']);
  } catch (error) {
    t.is((error as NodeJS.ErrnoException).code, 'ECONNREFUSED');
  }
});

test('what came before a reset is delivered, and then the reset', async (t) => {
  const accepted = Promise.withResolvers<Socket>();
  const {socket, heard} = native(await serve(t, accepted.resolve));
  const peer = await accepted.promise;
  await until(() => heard.events.length > 0);
  peer.write('last words', () => peer.resetAndDestroy());
  await once(peer, 'close');
  socket.readBytes = 1000;
  await until(() => heard.events.length > 1);
  t.deepEqual(heard.events, ['connect', 'close ECONNRESET']);
});

test('a slow reader gets all that came before a reset', async (t) => {
  const accepted = Promise.withResolvers<Socket>();
  const {socket, heard} = native(await serve(t, accepted.resolve));
  const peer = await accepted.promise;
  await until(() => heard.events.length > 0);
  const bytes = pattern(50_000);
  peer.write(bytes, () => peer.resetAndDestroy());
  await once(peer, 'close');
  const got: Buffer[] = [];
  socket.handler = {
    onData(piece) {
      got.push(Buffer.from(piece));
      socket.readBytes = 0;
      setImmediate(() => {
        socket.readBytes = 1000;
      });
    },
    onEnd: () => heard.onEnd(),
    onClose: (error) => heard.onClose(error),
  };
  socket.readBytes = 1000;
  await until(() => heard.events.length > 1);
  // What the kernel drops with a reset is not ours to give.
  t.true(Buffer.concat(got).equals(bytes.subarray(0, Buffer.concat(got).length)));
  t.true(got.length > 1, `${got.length} pieces`);
  t.deepEqual(heard.events, ['connect', 'close ECONNRESET']);
});

test('a reset of ours is one to the peer', async (t) => {
  const failed = Promise.withResolvers<NodeJS.ErrnoException>();
  const {socket, heard} = native(await serve(t, (peer) => peer.on('error', failed.resolve)));
  await until(() => heard.events.length > 0);
  socket.destroy(true);
  t.is((await failed.promise).code, 'ECONNRESET');
  t.deepEqual(heard.events, ['connect', 'close in order']);
});

test('who shares memory is asked before each wake-up how much may be read', async (t) => {
  const {socket, heard} = native(
    await serve(t, (peer) => void peer.write(new Uint8Array(MEBIBYTE))),
  );
  const sizes: number[] = [];
  let mayRead = 0;
  socket.handler = {
    onReadable: () => mayRead,
    onData: (bytes) => void sizes.push(bytes.length),
    onEnd: () => heard.onEnd(),
    onClose: (error) => heard.onClose(error),
    onConnect: () => heard.onConnect(),
  };
  await until(() => heard.events.length > 0);
  socket.readBytes = 1000;
  await until(() => socket.readBytes === 0);
  t.deepEqual(sizes, []);
  mayRead = 10;
  socket.readBytes = 10;
  await until(() => sizes.length > 3);
  t.true(sizes.every((size) => size === 10));
  socket.destroy();
});

test('the end of an adopted socket is the end of the one it was, and the other way round', async (t) => {
  const server = await serve(t, (peer) => peer.resume());
  for (const destroysOuter of [true, false]) {
    const outer = connect(server, '127.0.0.1');
    await once(outer, 'connect');
    const {socket} = socketOf(outer, new Uint8Array(0), true);
    const heard = new Listener();
    socket.handler = {
      onData: () => undefined,
      onEnd: () => undefined,
      onClose: (error) => {
        heard.onClose(error);
        outer.destroy();
      },
    };
    if (destroysOuter) outer.destroy();
    else socket.destroy();
    await until(() => outer.closed && socket.isClosed);
    t.deepEqual(heard.events, ['close in order']);
  }
});

test('what Node has read already comes first', async (t) => {
  const [other, one] = await socketPair();
  one.on('readable', () => undefined);
  other.write('already read');
  await until(() => one.readableLength > 0);
  one.removeAllListeners('readable');
  const {socket, head} = socketOf(one, Buffer.from('head, '), true);
  t.is(Buffer.from(head).toString(), 'head, already read');
  socket.destroy();
  other.destroy();
});

test('a connection that was accepted and not read is read from its first byte', async (t) => {
  const accepted = Promise.withResolvers<Socket>();
  const server = createServer({pauseOnConnect: true, allowHalfOpen: true}, accepted.resolve);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const address = server.address();
  const peer = connect(typeof address === 'object' && address !== null ? address.port : 0);
  const {socket, head} = socketOf(await accepted.promise, new Uint8Array(0), true);
  t.is(head.length, 0);
  const heard = new Listener();
  socket.handler = heard;
  socket.readBytes = 1000;
  for (const word of ['one', 'two', 'three']) {
    peer.write(word);
    await until(() => heard.bytes.toString().endsWith(word));
  }
  t.is(heard.bytes.toString(), 'onetwothree');
  socket.destroy();
  peer.destroy();
});

test('descriptors that come by a unix socket hold nothing up', async (t) => {
  const name = `mirrord-test-${process.pid}`;
  const sender = `
import socket
listener = socket.socket(socket.AF_UNIX)
listener.bind('\\0${name}')
listener.listen()
print('ready', flush=True)
s, _ = listener.accept()
socket.send_fds(s, [b'with'], [0])
s.send(b'behind')
print('sent', flush=True)
s.recv(1)
`;
  const child = spawn('/usr/bin/python3', ['-c', sender]);
  t.teardown(() => child.kill());
  await once(child.stdout, 'data');
  const made = connect({path: `\0${name}`});
  made.on('error', () => undefined);
  await Promise.all([once(made, 'connect'), once(child.stdout, 'data')]);
  const socket = adoptSocket(made);
  if (socket === undefined) throw new Error('the addon is not built');
  const listener = new Listener();
  socket.handler = listener;
  socket.readBytes = 65_536;
  await until(() => listener.bytes.toString() === 'withbehind');
  socket.destroy();
  t.pass();
});
