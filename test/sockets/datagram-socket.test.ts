import {createSocket, type Socket} from 'node:dgram';
import {once} from 'node:events';
import test, {type ExecutionContext} from 'ava';
import {packEndpoint} from '../../sockets/address.ts';
import {type DatagramHandler, DatagramSocket} from '../../sockets/datagram-socket.ts';
import {until} from '../helpers/until.ts';

const LOOPBACK = new Uint8Array([127, 0, 0, 1]);

/** What a socket hears, copied. */
class Heard implements DatagramHandler {
  readonly payloads: Buffer[] = [];
  readonly from: number[][] = [];
  readonly errors: string[] = [];
  readonly refused: (Uint8Array | undefined)[] = [];

  onDatagram(payload: Uint8Array, from: Uint8Array): void {
    this.payloads.push(Buffer.from(payload));
    this.from.push([...from]);
  }

  onError(error: NodeJS.ErrnoException, to?: Uint8Array): void {
    this.errors.push(error.code ?? '');
    this.refused.push(to);
  }
}

function open(
  t: ExecutionContext,
  options?: {isShared?: boolean},
): {socket: DatagramSocket; heard: Heard} {
  const heard = new Heard();
  const socket = new DatagramSocket(4, heard, options);
  t.teardown(() => socket.close());
  return {socket, heard};
}

/** A socket of Node's, and the port it has. */
async function server(t: ExecutionContext): Promise<{node: Socket; port: number}> {
  const node = createSocket('udp4');
  node.bind(0, '127.0.0.1');
  await once(node, 'listening');
  t.teardown(() => node.close());
  return {node, port: node.address().port};
}

/** A port of loopback where nobody is. */
async function freePort(): Promise<number> {
  const node = createSocket('udp4').bind(0, '127.0.0.1');
  await once(node, 'listening');
  const {port} = node.address();
  node.close();
  await once(node, 'close');
  return port;
}

test('what one turn sends arrives in order, each as it was, with its sender', async (t) => {
  const {node, port} = await server(t);
  node.setRecvBufferSize(1 << 20);
  const {socket, heard} = open(t);
  socket.connect({address: LOOPBACK, port});
  const got: Buffer[] = [];
  node.on('message', (payload, from) => {
    got.push(payload);
    node.send(payload, from.port, from.address);
  });
  // More than go in one call; some empty, one as large as there is.
  const sent = Array.from({length: 150}, (_, index) => Buffer.alloc(index % 7, `${index}`));
  sent[149] = Buffer.alloc(65_507, 'x');
  for (const payload of sent) socket.send(payload);
  await until(() => heard.payloads.length === sent.length);
  t.deepEqual(got, sent);
  t.deepEqual(heard.payloads, sent);
  t.deepEqual(heard.from[0], [port >> 8, port & 0xff, ...LOOPBACK]);
});

test('one that is not connected sends to each as it is told, and hears from any', async (t) => {
  const servers = await Promise.all([server(t), server(t)]);
  const {socket, heard} = open(t);
  socket.bind({address: new Uint8Array(4), port: 0});
  for (const {node, port} of servers) {
    node.on('message', (payload, from) => node.send(`${payload}!`, from.port, from.address));
    socket.send(Buffer.from(`${port}`), packEndpoint({address: LOOPBACK, port}));
  }
  await until(() => heard.payloads.length === 2);
  const ports = servers.map(({port}) => `${port}!`);
  t.deepEqual(heard.payloads.map(String).sort(), ports.sort());
});

test('a refused peer is told again and again, and loses nothing for others', async (t) => {
  const port = await freePort();
  const {socket, heard} = open(t, {isShared: true});
  socket.bind({address: new Uint8Array(4), port: 0});
  socket.connect({address: LOOPBACK, port});
  for (const round of [1, 2, 3]) {
    socket.send(Buffer.from('x'));
    await until(() => heard.errors.length === round);
  }
  t.deepEqual(heard.errors, ['ECONNREFUSED', 'ECONNREFUSED', 'ECONNREFUSED']);
  // Somebody is there now: an error of before may be met first, but what is sent arrives.
  const node = createSocket('udp4').bind(port, '127.0.0.1');
  t.teardown(() => node.close());
  await once(node, 'listening');
  const arrived = once(node, 'message');
  socket.send(Buffer.from('there?'));
  const [payload] = await arrived;
  t.is(`${payload}`, 'there?');
});

test('one that the kernel does not take is told once, for whom; those around it go out', async (t) => {
  const {node, port} = await server(t);
  const got: string[] = [];
  node.on('message', (payload) => got.push(`${payload}`));
  const {socket, heard} = open(t);
  socket.bind({address: new Uint8Array(4), port: 0});
  const to = packEndpoint({address: LOOPBACK, port});
  socket.send(Buffer.from('before'), to);
  socket.send(Buffer.alloc(65_508), to);
  socket.send(Buffer.from('after'), to);
  await until(() => got.length === 2);
  t.deepEqual(got, ['before', 'after']);
  t.deepEqual(heard.errors, ['EMSGSIZE']);
  t.is(heard.refused[0], to);
});

test('many that wait in the kernel are all handed on', async (t) => {
  const {node} = await server(t);
  const {socket, heard} = open(t);
  socket.bind({address: LOOPBACK, port: 0});
  const sent = Array.from({length: 100}, (_, index) => `${index}`);
  // Sent while nobody reads: the loop is not given back before all are there.
  await Promise.all(
    sent.map(
      (text) => new Promise((resolve) => node.send(text, socket.port, '127.0.0.1', resolve)),
    ),
  );
  await until(() => heard.payloads.length === sent.length);
  t.deepEqual(heard.payloads.map(String), sent);
});

test('errors of bind and connect are thrown, with their names', async (t) => {
  const {port} = await server(t);
  const {socket} = open(t);
  t.throws(() => socket.bind({address: LOOPBACK, port}), {code: 'EADDRINUSE'});
  t.throws(() => socket.connect({address: new Uint8Array(16).fill(1), port}), {
    code: 'EAFNOSUPPORT',
  });
});

test('what was sent before close() goes out, and nothing is heard after it', async (t) => {
  const {node, port} = await server(t);
  const {socket, heard} = open(t);
  socket.connect({address: LOOPBACK, port});
  const arrived = once(node, 'message');
  socket.send(Buffer.from('last'));
  socket.close();
  node.send('late', socket.port, '127.0.0.1');
  const [payload] = await arrived;
  t.is(`${payload}`, 'last');
  t.notThrows(() => socket.send(Buffer.from('nothing')));
  t.deepEqual(heard.payloads, []);
});
