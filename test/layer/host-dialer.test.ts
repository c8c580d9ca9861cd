import {createSocket} from 'node:dgram';
import {once} from 'node:events';
import {type AddressInfo, createServer, type Socket} from 'node:net';
import test from 'ava';
import {addressBytes, addressText} from '../../layer/address.ts';
import {createHostDialer} from '../../layer/host-dialer.ts';
import {emitEndpoint, emitFamily, parseUdpReport} from '../../tunnel/messages.ts';
import type {StreamHandler} from '../../tunnel/types.ts';

/** A server on a loopback address, with the connections that it has accepted. */
async function serve(
  host: string,
): Promise<{port: number; accepted: Promise<Socket>} & Disposable> {
  const server = createServer({allowHalfOpen: true}).listen(0, host);
  await once(server, 'listening');
  const accepted = once(server, 'connection').then(([socket]) => socket as Socket);
  const {port} = server.address() as AddressInfo;
  return {port, accepted, [Symbol.dispose]: () => void server.close()};
}

const destination = (port: number, address = '192.0.2.1') =>
  emitEndpoint({address: addressBytes(address), port});

/** A handler that notes what it is called with. */
function recorder() {
  const events: string[] = [];
  const waiting = new Map<string, () => void>();
  const note = (name: string, detail = ''): void => {
    events.push(detail === '' ? name : `${name} ${detail}`);
    waiting.get(name)?.();
  };
  const handler: StreamHandler = {
    onOpened: () => note('opened'),
    onRefused: (errno) => note('refused', errno),
    onData: (chunk) => note('data', Buffer.from(chunk).toString()),
    onEnd: () => note('end'),
    onReset: (errno) => note('reset', errno),
    onClose: () => note('close'),
  };
  const until = (name: string): Promise<void> =>
    events.some((event) => event.startsWith(name))
      ? Promise.resolve()
      : new Promise((resolve) => waiting.set(name, resolve));
  return {events, handler, until};
}

test('a destination is dialled at the first of its addresses that accepts', async (t) => {
  using server = await serve('127.0.0.1');
  using dialer = createHostDialer(() => ['127.0.0.2', '127.0.0.1']);
  const {events, handler, until} = recorder();
  const stream = dialer.open('tcp', destination(server.port), handler);
  await until('opened');
  const peer = await server.accepted;
  stream.write(Buffer.from('ping'));
  t.is(`${((await once(peer, 'data')) as [Buffer])[0]}`, 'ping');
  peer.end('pong');
  stream.end();
  await until('close');
  t.deepEqual(events, ['opened', 'data pong', 'end', 'close']);
  t.like(dialer.counters, {opened: 2, refused: 0});
});

test('a destination that nobody accepts at is refused with the errno', async (t) => {
  const server = await serve('127.0.0.1');
  server[Symbol.dispose]();
  using dialer = createHostDialer(() => ['127.0.0.2', '127.0.0.1']);
  const {events, handler, until} = recorder();
  dialer.open('tcp', destination(server.port), handler);
  await until('refused');
  t.deepEqual(events, ['refused ECONNREFUSED']);
});

test('a name is dialled where it resolves here', async (t) => {
  using server = await serve('127.0.0.1');
  using dialer = createHostDialer(() => ['localhost', '192.0.2.1']);
  const {events, handler, until} = recorder();
  dialer.open('tcp', destination(server.port), handler);
  await until('opened');
  t.deepEqual(events, ['opened']);
});

test('a name that does not resolve here leaves the address', async (t) => {
  using server = await serve('127.0.0.1');
  using dialer = createHostDialer(() => ['nobody.invalid', '127.0.0.1']);
  const {events, handler, until} = recorder();
  dialer.open('tcp', destination(server.port), handler);
  await until('opened');
  t.deepEqual(events, ['opened']);
});

test('a name that resolves here, where nobody accepts, is refused', async (t) => {
  using server = await serve('127.0.0.2'); // the address accepts, but it isn't the name's
  using dialer = createHostDialer(() => ['localhost', '127.0.0.2']);
  const {events, handler, until} = recorder();
  dialer.open('tcp', destination(server.port), handler);
  await until('refused');
  t.deepEqual(events, ['refused ECONNREFUSED']);
});

for (const candidates of [
  ['127.0.0.1'],
  ['localhost', '192.0.2.1'],
  ['nobody.invalid', '127.0.0.1'],
]) {
  test(`datagrams go to the first of ${candidates.join(', ')} that is known here`, async (t) => {
    const peer = createSocket('udp4').bind(0, '127.0.0.1');
    await once(peer, 'listening');
    peer.on('message', (message, {port, address}) => peer.send(`re: ${message}`, port, address));
    using dialer = createHostDialer(() => candidates);
    const reports: Uint8Array[] = [];
    const {promise, resolve} = Promise.withResolvers<void>();
    const stream = dialer.open('udp', emitFamily(4), {
      onDatagram(bytes) {
        reports.push(bytes);
        if (reports.length === 2) resolve();
      },
    });
    const to = destination(peer.address().port);
    for (const text of ['one', 'two']) stream.sendDatagram(Buffer.from(text), to);
    await promise;
    t.deepEqual(
      reports.map((bytes) => {
        const report = parseUdpReport(bytes);
        return report.type === 'datagram'
          ? [addressText(report.from.address), `${Buffer.from(report.payload)}`]
          : report;
      }),
      [
        ['192.0.2.1', 're: one'],
        ['192.0.2.1', 're: two'],
      ],
    );
    stream.reset('ECANCELED');
    peer.close();
  });
}

test('a reset goes both ways', async (t) => {
  using server = await serve('127.0.0.1');
  using dialer = createHostDialer();
  const first = recorder();
  dialer.open('tcp', destination(server.port, '127.0.0.1'), first.handler);
  await first.until('opened');
  (await server.accepted).resetAndDestroy();
  await first.until('reset');
  t.is(first.events.at(-1), 'reset ECONNRESET');

  using other = await serve('127.0.0.1');
  const second = recorder();
  const stream = dialer.open('tcp', destination(other.port, '127.0.0.1'), second.handler);
  await second.until('opened');
  const peer = await other.accepted;
  stream.reset('ECONNRESET');
  const [error] = (await once(peer.resume(), 'error')) as [NodeJS.ErrnoException];
  t.is(error.code, 'ECONNRESET');
  t.deepEqual(second.events, ['opened']);
});

test('no more is read than was consumed and a window', async (t) => {
  using server = await serve('127.0.0.1');
  using dialer = createHostDialer();
  const {handler, until} = recorder();
  let received = 0;
  const paused = Promise.withResolvers<void>();
  const all = Promise.withResolvers<void>();
  const size = 32 * 1024 ** 2;
  const stream = dialer.open('tcp', destination(server.port, '127.0.0.1'), {
    ...handler,
    onData(chunk) {
      received += chunk.length;
      if (received >= 512 * 1024) paused.resolve();
      if (received === size) all.resolve();
      if (isReading) stream.consumed(received);
    },
  });
  let isReading = false;
  await until('opened');
  (await server.accepted).end(Buffer.alloc(size));
  await paused.promise;
  t.true(received < 1024 ** 2, `${received} bytes`);
  isReading = true;
  stream.consumed(received);
  await all.promise;
  t.is(received, size);
});

test('what is written is bounded until the kernel has taken it', async (t) => {
  using server = await serve('127.0.0.1');
  using dialer = createHostDialer();
  const {handler, until} = recorder();
  const stream = dialer.open('tcp', destination(server.port, '127.0.0.1'), handler);
  await until('opened');
  t.true(stream.writable > 0);
  stream.write(Buffer.alloc(stream.writable));
  t.is(stream.writable, 0);
});
