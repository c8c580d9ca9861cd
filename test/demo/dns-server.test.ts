import {once} from 'node:events';
import {connect, type Socket} from 'node:net';
import test from 'ava';
import {decode, streamEncode} from 'dns-packet';
import {DnsServer} from '../../cli/demo/dns-server.ts';
import {pods} from '../../cli/demo/pods.ts';
import {services} from '../../cli/demo/services.ts';
import {makeZone} from '../../cli/demo/zone.ts';
import {freePort} from '../helpers/ports.ts';

async function startServer(): Promise<
  {server: DnsServer; open: () => Promise<Socket>} & Disposable
> {
  const port = await freePort();
  const server = new DnsServer();
  await server.listen('127.0.0.1', port);
  server.setZone(makeZone(services, pods));
  return {
    server,
    async open() {
      const socket = connect(port, '127.0.0.1');
      await once(socket, 'connect');
      return socket;
    },
    [Symbol.dispose]: () => server[Symbol.dispose](),
  };
}

const query = (id: number) =>
  streamEncode({
    type: 'query',
    id,
    questions: [{name: 'orders.default.svc.cluster.local', type: 'A'}],
  });

/** Reads `count` answers and returns their numbers. */
async function answers(socket: Socket, count: number): Promise<number[]> {
  let pending = Buffer.alloc(0);
  const ids: number[] = [];
  for await (const chunk of socket.iterator({destroyOnReturn: false}) as AsyncIterable<Buffer>) {
    pending = Buffer.concat([pending, chunk]);
    while (pending.length >= 2 && pending.length >= 2 + pending.readUInt16BE(0)) {
      const end = 2 + pending.readUInt16BE(0);
      ids.push(decode(pending.subarray(2, end)).id ?? -1);
      pending = pending.subarray(end);
    }
    if (ids.length >= count) break;
  }
  return ids;
}

test('several queries on one TCP connection are answered in order', async (t) => {
  using dns = await startServer();
  const socket = await dns.open();
  socket.write(Buffer.concat([query(1), query(2), query(3)]));
  t.deepEqual(await answers(socket, 3), [1, 2, 3]);
  socket.destroy();
});

test('a TCP query may come byte by byte', async (t) => {
  using dns = await startServer();
  const socket = await dns.open();
  socket.setNoDelay();
  for (const byte of query(9)) {
    socket.write(Uint8Array.of(byte));
    await new Promise(setImmediate);
  }
  t.deepEqual(await answers(socket, 1), [9]);
  socket.destroy();
});

test('a TCP query that claims to be too long ends the connection', async (t) => {
  using dns = await startServer();
  const socket = await dns.open();
  socket.resume().write(Uint8Array.of(0xff, 0xff));
  await once(socket, 'close');
  t.is(dns.server.malformed, 1);
});

test('TCP connections over the limit are closed, the others served', async (t) => {
  using dns = await startServer();
  const sockets = await Promise.all(Array.from({length: 80}, () => dns.open()));
  const open = new Set(sockets);
  for (const socket of sockets) {
    socket.on('error', () => undefined).on('close', () => open.delete(socket));
  }
  const closed = sockets.map((socket) => once(socket.resume(), 'close'));
  await Promise.any(closed);
  const [served] = open;
  served?.pause().write(query(5));
  t.deepEqual(served && (await answers(served, 1)), [5]);
  for (const socket of sockets) socket.destroy();
});
