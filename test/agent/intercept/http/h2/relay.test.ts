import {once} from 'node:events';
import {createServer, type ServerHttp2Stream} from 'node:http2';
import {setTimeout as delay} from 'node:timers/promises';
import test, {type ExecutionContext} from 'ava';
import fc from 'fast-check';
import {httpCounters} from '../../../../../agent/intercept/http/counters.ts';
import type {HttpSubscription} from '../../../../../agent/intercept/http/types.ts';
import type {LettingGo} from '../../../../../agent/intercept/letting-go.ts';
import {dial, listen, NOBODY, relay, subscription, wants, wantsHeader} from '../world.ts';
import {
  ACK,
  application,
  CONTINUATION,
  DATA,
  END_HEADERS,
  END_STREAM,
  type Frame,
  frame,
  GET_ROOT,
  GOAWAY,
  greet,
  HAS_PRIORITY,
  HEADERS,
  MINE,
  OK,
  PADDED,
  PING,
  POST_ROOT,
  PREFACE,
  PRIORITY,
  PUSH_PROMISE,
  RST_STREAM,
  SETTINGS,
  settings,
  WINDOW_UPDATE,
  Wire,
  word,
} from './wire.ts';

const plain = ({type, flags, stream, payload}: Frame) => [
  type,
  flags,
  stream,
  payload.toString('hex'),
];
const sent = (
  type: number,
  flags: number,
  stream: number,
  payload: Uint8Array = Buffer.alloc(0),
) => [type, flags, stream, Buffer.from(payload).toString('hex')];

/** A program that answers everything with 200 and its name. */
async function program(t: ExecutionContext): Promise<number> {
  const server = createServer();
  server.on('stream', (stream: ServerHttp2Stream) => {
    stream.on('error', () => {});
    stream.resume();
    stream.on('end', () => {
      if (stream.destroyed) return;
      stream.respond({':status': 200});
      stream.end('program');
    });
  });
  return listen(t, server);
}

/** A client and an application that have greeted each other through the relay. */
async function joined(
  t: ExecutionContext,
  subscriptions: readonly HttpSubscription[] = [],
  ...pairs: (readonly [number, number])[]
): Promise<{client: Wire; server: Wire; relays: Set<Promise<void>>; lettingGo: LettingGo}> {
  const {port: at, accept} = await application(t);
  const {port, relays, lettingGo} = await relay(t, at, subscriptions);
  const client = await Wire.client(t, port);
  const server = await accept();
  await greet(server, ...pairs);
  t.is((await client.next()).type, SETTINGS);
  return {client, server, relays, lettingGo};
}

const stealsMine = async (t: ExecutionContext) =>
  subscription(await program(t), {filter: wantsHeader('^x-user: me$')});

test('SETTINGS are the other end’s, but for tables that are larger than what we read along', async (t) => {
  const {port: at, accept} = await application(t);
  const {port} = await relay(t, at, []);
  const ofClient = [
    [1, 100],
    [2, 1],
    [4, 70_000],
    [5, 20_000],
    [0xff77, 5],
  ] as const;
  const client = await Wire.client(t, port, ...ofClient);
  const server = await accept();
  const ofServer = [
    [1, 50],
    [4, 1_000_000],
    [8, 1],
    [3, 5000],
    [0xff99, 6],
  ] as const;
  t.deepEqual(plain(await greet(server, ...ofServer)), sent(SETTINGS, 0, 0, settings(...ofClient)));
  t.deepEqual(plain(await client.next()), sent(SETTINGS, 0, 0, settings(...ofServer)));
  server.send(SETTINGS, ACK, 0);
  t.deepEqual(plain(await client.next()), sent(SETTINGS, ACK, 0));
  client.send(SETTINGS, ACK, 0);
  t.deepEqual(plain(await server.next()), sent(SETTINGS, ACK, 0));
  server.send(SETTINGS, 0, 0, settings([3, 7], [1, 65_537]));
  t.deepEqual(plain(await client.next()), sent(SETTINGS, 0, 0, settings([3, 7], [1, 65_536])));
  client.send(SETTINGS, 0, 0, settings([1, 0xffff_ffff]));
  t.deepEqual(plain(await server.next()), sent(SETTINGS, 0, 0, settings([1, 65_536])));
});

test('PING, windows, priorities, DATA with its padding, resets, GOAWAY and what nobody knows pass as they are', async (t) => {
  const {client, server} = await joined(t);
  const head = Buffer.concat([
    Buffer.from([2]),
    word(0),
    Buffer.from([9]),
    POST_ROOT,
    Buffer.alloc(2),
  ]);
  client.send(HEADERS, END_HEADERS | PADDED | HAS_PRIORITY, 1, head);
  const toServer = [
    sent(PING, 0, 0, Buffer.from('12345678')),
    sent(DATA, PADDED, 1, Buffer.from([3, 65, 66, 0, 0, 0])),
    sent(DATA, 0, 1),
    sent(PRIORITY, 0, 1, Buffer.concat([word(0), Buffer.from([5])])),
    sent(WINDOW_UPDATE, 0, 1, word(17)),
    sent(0x77, 0x12, 0, Buffer.from('anything')),
    sent(0x77, 0x12, 1, Buffer.from('anything')),
    sent(RST_STREAM, 0, 1, word(8)),
    sent(GOAWAY, 0, 0, Buffer.concat([word(0, 2), Buffer.from('why')])),
  ] as const;
  t.deepEqual(
    plain(await server.next()),
    sent(HEADERS, END_HEADERS | PADDED | HAS_PRIORITY, 1, head),
  );
  client.send(HEADERS, END_HEADERS, 3, POST_ROOT);
  await server.next();
  for (const [type, flags, stream, payload] of toServer)
    client.send(
      type as number,
      flags as number,
      stream as number,
      Buffer.from(payload as string, 'hex'),
    );
  for (const one of toServer) t.deepEqual(plain(await server.next()), one);
  server.send(HEADERS, END_HEADERS, 3, OK);
  t.deepEqual(plain(await client.next()), sent(HEADERS, END_HEADERS, 3, OK));
  const toClient = [
    sent(PING, ACK, 0, Buffer.from('12345678')),
    sent(DATA, PADDED, 3, Buffer.from([1, 65, 66, 0])),
    sent(WINDOW_UPDATE, 0, 3, word(1000)),
    sent(0x79, 1, 3, Buffer.from('anything')),
    sent(RST_STREAM, 0, 3, word(2)),
    sent(GOAWAY, 0, 0, Buffer.concat([word(3, 0), Buffer.from('bye')])),
  ] as const;
  for (const [type, flags, stream, payload] of toClient)
    server.send(
      type as number,
      flags as number,
      stream as number,
      Buffer.from(payload as string, 'hex'),
    );
  for (const one of toClient) t.deepEqual(plain(await client.next()), one);
});

test('fields that nobody may keep in a table stay so, and others are kept', async (t) => {
  const {client, server} = await joined(t);
  const secret = Buffer.concat([
    POST_ROOT,
    Buffer.from('\x10\x01a\x01b\x40\x01c\x01d\x00\x01e\x01f', 'latin1'),
  ]);
  client.send(HEADERS, END_HEADERS, 1, secret);
  t.deepEqual(plain(await server.next()), sent(HEADERS, END_HEADERS, 1, secret));
  client.send(HEADERS, END_HEADERS, 3, Buffer.concat([POST_ROOT, Buffer.from([0xbe])]));
  t.deepEqual(
    plain(await server.next()),
    sent(HEADERS, END_HEADERS, 3, Buffer.concat([POST_ROOT, Buffer.from([0xbe])])),
  );
});

test('an application that does not speak HTTP/2 answers for itself', async (t) => {
  const {port: at, accept} = await application(t);
  const {port, relays} = await relay(t, at, [await stealsMine(t)]);
  const client = await Wire.client(t, port);
  client.send(HEADERS, END_HEADERS | END_STREAM, 1, GET_ROOT);
  const server = await accept();
  server.socket.resume();
  server.socket.write('HTTP/1.1 ');
  server.socket.end('400 Bad Request\r\n\r\n');
  let said = '';
  for await (const chunk of client.socket) said += String(chunk);
  t.is(said, 'HTTP/1.1 400 Bad Request\r\n\r\n');
  client.socket.end();
  await Promise.all(relays);
});

test('an application that says less than a frame, and ends, is heard', async (t) => {
  const {port: at, accept} = await application(t);
  const {port} = await relay(t, at, []);
  const client = await Wire.client(t, port);
  const server = await accept();
  server.socket.resume();
  server.socket.end('\0\0');
  t.is(String(await client.bytes()), '\0\0');
  t.is(await client.closed, 'end');
});

test('an end of the application is an end, and a reset a reset', async (t) => {
  const ended = await joined(t);
  ended.server.socket.end();
  ended.client.socket.resume();
  t.is(await ended.client.closed, 'end');
  ended.client.socket.end();
  await Promise.all(ended.relays);
  const reset = await joined(t);
  reset.server.socket.resetAndDestroy();
  reset.client.socket.resume();
  t.is(await reset.client.closed, 'reset');
  await Promise.all(reset.relays);
});

test('an end of the client is an end, and a reset a reset', async (t) => {
  const ended = await joined(t);
  ended.client.socket.end();
  ended.server.socket.resume();
  t.is(await ended.server.closed, 'end');
  const reset = await joined(t);
  reset.client.socket.resetAndDestroy();
  reset.server.socket.resume();
  t.is(await reset.server.closed, 'reset');
  await Promise.all(reset.relays);
});

test('the application never sees a stolen stream: its number is skipped', async (t) => {
  const {client, server} = await joined(t, [await stealsMine(t)]);
  client.send(HEADERS, END_HEADERS | END_STREAM, 1, GET_ROOT);
  client.send(HEADERS, END_HEADERS | END_STREAM, 3, MINE);
  client.send(HEADERS, END_HEADERS, 5, POST_ROOT);
  t.is((await server.next()).stream, 1);
  t.is((await server.next()).stream, 5);
  const answer = await client.next();
  t.deepEqual([answer.type, answer.stream], [HEADERS, 3]);
  const body = await client.next();
  t.deepEqual(plain(body), sent(DATA, END_STREAM, 3, Buffer.from('program')));
  client.send(DATA, END_STREAM, 5, Buffer.from('x'));
  t.deepEqual(plain(await server.next()), sent(DATA, END_STREAM, 5, Buffer.from('x')));
  server.send(HEADERS, END_HEADERS | END_STREAM, 5, OK);
  const last = await client.next();
  t.deepEqual([last.stream, last.flags], [5, END_HEADERS | END_STREAM]);
});

test('a request that is stolen in the middle of a frame of the application’s is answered behind it', async (t) => {
  const {client, server} = await joined(t, [await stealsMine(t)]);
  client.send(HEADERS, END_HEADERS | END_STREAM, 1, GET_ROOT);
  await server.next();
  const answer = frame(DATA, PADDED, 1, Buffer.concat([Buffer.from([7]), Buffer.alloc(5000, 'a')]));
  server.send(HEADERS, END_HEADERS, 1, OK);
  server.socket.write(answer.subarray(0, 1000));
  await client.until(HEADERS);
  client.send(HEADERS, END_HEADERS | END_STREAM, 3, MINE);
  client.send(PING, 0, 0, Buffer.from('12345678'));
  await server.until(PING);
  server.socket.write(answer.subarray(1000));
  const found = await client.next();
  t.deepEqual([found.type, found.flags, found.stream], [DATA, PADDED, 1]);
  t.true(found.payload.equals(answer.subarray(9)));
  t.is(String((await client.until(DATA)).payload), 'program');
});

test('what a stolen request puts into the table, and what it makes of it, the application has not', async (t) => {
  const {client, server} = await joined(t, [await stealsMine(t)], [1, 200]);
  server.send(SETTINGS, ACK, 0);
  await client.until(SETTINGS);
  const put = (name: string): Buffer => Buffer.from(`@\x01${name}\x01v`, 'latin1');
  client.send(HEADERS, END_HEADERS | END_STREAM, 1, Buffer.concat([GET_ROOT, put('a')]));
  t.true(server.linesOf(await server.next()).includes('a: v'));
  // From now on the table is smaller: the next block says so, which is not the application's.
  client.send(SETTINGS, ACK, 0);
  await server.until(SETTINGS);
  const resized = Buffer.concat([Buffer.from([0x3f, 0xa9, 0x01]), MINE, put('b')]);
  client.send(HEADERS, END_HEADERS | END_STREAM, 3, resized);
  t.is(String((await client.until(DATA)).payload), 'program');
  // The fields that were put there last, and first.
  client.send(
    HEADERS,
    END_HEADERS | END_STREAM,
    5,
    Buffer.concat([GET_ROOT, Buffer.from([0xbe, 0xbf])]),
  );
  const passed = await server.next();
  t.is(passed.payload.subarray(0, 3).toString('hex'), '3fa901');
  t.deepEqual(server.linesOf(passed).slice(-2), ['b: v', 'a: v']);
});

test('a program that answers between two blocks of the application’s leaves the client’s table as it is', async (t) => {
  const {client, server} = await joined(t, [await stealsMine(t)]);
  const answer = Buffer.concat([OK, Buffer.from('@\x01a\x01v', 'latin1')]);
  for (const stream of [1, 5]) client.send(HEADERS, END_HEADERS | END_STREAM, stream, GET_ROOT);
  for (let at = 0; at < 2; at++) await server.next();
  server.send(HEADERS, END_HEADERS | END_STREAM, 1, answer);
  t.true(client.linesOf(await client.until(HEADERS)).includes('a: v'));
  client.send(HEADERS, END_HEADERS | END_STREAM, 7, MINE);
  t.true(client.linesOf(await client.until(HEADERS)).includes(':status: 200'));
  server.send(HEADERS, END_HEADERS | END_STREAM, 5, Buffer.from([0x88, 0xbe]));
  t.true(client.linesOf(await client.until(HEADERS)).includes('a: v'));
});

test('pushes pass, also once a program had a stream', async (t) => {
  const {client, server} = await joined(t, [await stealsMine(t)]);
  client.send(HEADERS, END_HEADERS, 1, POST_ROOT);
  await server.next();
  const push = (id: number): Buffer => Buffer.concat([word(id), GET_ROOT]);
  server.send(PUSH_PROMISE, END_HEADERS, 1, push(2));
  t.deepEqual(plain(await client.next()), sent(PUSH_PROMISE, END_HEADERS, 1, push(2)));
  client.send(HEADERS, END_HEADERS | END_STREAM, 3, MINE);
  t.is(String((await client.until(DATA)).payload), 'program');
  server.send(PUSH_PROMISE, END_HEADERS, 1, push(4));
  t.deepEqual(plain(await client.next()), sent(PUSH_PROMISE, END_HEADERS, 1, push(4)));
  for (const id of [2, 4]) {
    server.send(HEADERS, END_HEADERS, id, OK);
    t.is((await client.next()).stream, id);
    server.send(DATA, END_STREAM, id, Buffer.from('pushed'));
    t.deepEqual(plain(await client.next()), sent(DATA, END_STREAM, id, Buffer.from('pushed')));
  }
});

test('a GOAWAY of ours comes between two frames of the application’s', async (t) => {
  const {client, server, lettingGo} = await joined(t);
  client.send(HEADERS, END_HEADERS | END_STREAM, 1, GET_ROOT);
  await server.next();
  const answer = frame(DATA, END_STREAM, 1, Buffer.alloc(5000, 'a'));
  server.send(HEADERS, END_HEADERS, 1, OK);
  server.socket.write(answer.subarray(0, 1000));
  await client.until(HEADERS);
  lettingGo.say();
  client.send(PING, 0, 0, Buffer.from('12345678'));
  await server.until(PING);
  server.socket.write(answer.subarray(1000));
  t.true((await client.next()).payload.equals(answer.subarray(9)));
  t.deepEqual(plain(await client.next()), sent(GOAWAY, 0, 0, word(0x7fff_ffff, 0)));
});

test('answers say what caches are to do behind what they say themselves', async (t) => {
  const {client, server} = await joined(t, [await stealsMine(t)]);
  client.send(HEADERS, END_HEADERS | END_STREAM, 1, GET_ROOT);
  await server.next();
  const own = Buffer.concat([OK, Buffer.from('\0\x0dcache-control\x06public', 'latin1')]);
  server.send(
    HEADERS,
    END_HEADERS | PADDED,
    1,
    Buffer.concat([Buffer.from([2]), own, Buffer.alloc(2)]),
  );
  const {flags, payload} = await client.until(HEADERS);
  t.is(flags, END_HEADERS | PADDED);
  t.deepEqual(client.linesOf({type: HEADERS, flags, stream: 1, payload: payload.subarray(1, -2)}), [
    ':status: 200',
    'cache-control: public',
    'cache-control: no-cache, no-store, must-revalidate',
  ]);
  // No frame may be larger than the client takes.
  client.send(HEADERS, END_HEADERS | END_STREAM, 3, GET_ROOT);
  await server.next();
  const [name, value] = [Buffer.from([0, 1, 97]), Buffer.from([127, 0xec, 0x7e])];
  const large = Buffer.concat([OK, name, value, Buffer.alloc(16_363, 98)]);
  server.send(HEADERS, END_HEADERS | END_STREAM, 3, large);
  t.is((await client.until(HEADERS)).flags, END_STREAM);
  const rest = await client.next();
  t.deepEqual([rest.type, rest.flags, rest.stream], [CONTINUATION, END_HEADERS, 3]);
});

test('after a stolen stream a GOAWAY is of the client’s numbers, and what was not looked at is refused', async (t) => {
  const {client, server} = await joined(t, [await stealsMine(t)]);
  client.send(HEADERS, END_HEADERS | END_STREAM, 1, MINE);
  for (const stream of [3, 5]) client.send(HEADERS, END_HEADERS | END_STREAM, stream, GET_ROOT);
  for (const stream of [3, 5]) t.is((await server.next()).stream, stream);
  server.send(GOAWAY, 0, 0, word(3, 0));
  t.deepEqual(plain(await client.until(GOAWAY)), sent(GOAWAY, 0, 0, word(5, 0)));
  t.deepEqual(plain(await client.until(RST_STREAM)), sent(RST_STREAM, 0, 5, word(7)));
});

test('a stolen stream that its program does not read leaves the others all they need', async (t) => {
  const stuck = createServer();
  stuck.on('stream', (stream) => stream.on('error', () => {}));
  const mine = subscription(await listen(t, stuck), {filter: wantsHeader('^x-user: me$')});
  const {client, server} = await joined(t, [mine], [4, 1_000_000]);
  client.send(HEADERS, END_HEADERS, 1, MINE);
  // More than the connection’s window.
  for (let at = 0; at < 4; at++) client.send(DATA, 0, 1, Buffer.alloc(16_000));
  let window = 65_535 - 64_000;
  while (window < 60_000) window += (await client.until(WINDOW_UPDATE)).payload.readUInt32BE(0);
  client.send(HEADERS, END_HEADERS, 3, POST_ROOT);
  await server.next();
  for (let at = 0; at < 3; at++) client.send(DATA, 0, 3, Buffer.alloc(16_000));
  for (let at = 0; at < 3; at++) t.is((await server.next()).payload.length, 16_000);
});

/** A program whose answers are of 60,000 bytes. */
async function large(t: ExecutionContext): Promise<HttpSubscription> {
  const server = createServer();
  server.on('stream', (stream: ServerHttp2Stream) => {
    stream.on('error', () => {});
    stream.respond({':status': 200});
    stream.end(Buffer.alloc(60_000));
  });
  return subscription(await listen(t, server), {filter: wantsHeader('^x-user: me$')});
}

test('what a program answers is paid from the client’s window, which the application then has less of', async (t) => {
  const {client, server} = await joined(t, [await large(t)]);
  client.send(HEADERS, END_HEADERS | END_STREAM, 1, MINE);
  client.send(HEADERS, END_HEADERS | END_STREAM, 3, GET_ROOT);
  t.is((await server.next()).stream, 3);
  for (let bytes = 0; bytes < 60_000; ) bytes += (await client.until(DATA)).payload.length;
  // It believes that it may send all of the window.
  server.send(HEADERS, END_HEADERS, 3, OK);
  for (let at = 0; at < 4; at++)
    server.send(DATA, at === 3 ? END_STREAM : 0, 3, Buffer.alloc(16_000));
  server.send(PING, 0, 0, Buffer.from('overtake'));
  let bytes = 0;
  for (let found = await client.next(); found.type !== PING; found = await client.next())
    if (found.type === DATA && found.stream === 3) bytes += found.payload.length;
  t.is(bytes, 5535);
  client.send(WINDOW_UPDATE, 0, 0, word(61_000));
  for (let isLast = false; !isLast; ) {
    const {payload, flags} = await client.until(DATA);
    bytes += payload.length;
    isLast = (flags & END_STREAM) !== 0;
  }
  t.is(bytes, 64_000);
  // 60,000 were the program's, and the rest is its.
  t.deepEqual(plain(await server.until(WINDOW_UPDATE)), sent(WINDOW_UPDATE, 0, 0, word(1000)));
});

test('an application is to do without a table once the client does not have what is in it', async (t) => {
  const {client, server} = await joined(t, [await large(t)]);
  client.send(HEADERS, END_HEADERS | END_STREAM, 1, MINE);
  client.send(HEADERS, END_HEADERS | END_STREAM, 3, GET_ROOT);
  t.is((await server.next()).stream, 3);
  for (let bytes = 0; bytes < 60_000; ) bytes += (await client.until(DATA)).payload.length;
  // There is no room for it, so the trailers wait, and others' heads overtake them.
  server.send(HEADERS, END_HEADERS, 3, OK);
  server.send(DATA, 0, 3, Buffer.alloc(16_000));
  const trailers = Buffer.from('\x40\x0bgrpc-status\x010', 'latin1');
  server.send(HEADERS, END_HEADERS | END_STREAM, 3, trailers);
  t.deepEqual(plain(await server.until(SETTINGS)), sent(SETTINGS, 0, 0, settings([1, 0])));
  // It acknowledges what the client has set, and that.
  server.send(SETTINGS, ACK, 0);
  server.send(SETTINGS, ACK, 0);
  client.send(SETTINGS, 0, 0, settings([1, 4096]));
  t.deepEqual(plain(await server.until(SETTINGS)), sent(SETTINGS, 0, 0, settings([1, 0])));
  client.send(WINDOW_UPDATE, 0, 0, word(100_000));
  let head = await client.until(HEADERS);
  while ((head.flags & END_STREAM) === 0) head = await client.until(HEADERS);
  t.deepEqual(client.linesOf(head), ['grpc-status: 0']);
  t.deepEqual(plain(await client.next()), sent(SETTINGS, ACK, 0));
  server.send(PING, 0, 0, Buffer.from('12345678'));
  t.is((await client.next()).type, PING);
});

test('an application that needs no more of a request, having answered it, does not take back what waits', async (t) => {
  const {client, server} = await joined(t, [await large(t)]);
  client.send(HEADERS, END_HEADERS | END_STREAM, 1, MINE);
  client.send(HEADERS, END_HEADERS, 3, POST_ROOT);
  t.is((await server.next()).stream, 3);
  for (let bytes = 0; bytes < 60_000; ) bytes += (await client.until(DATA)).payload.length;
  server.send(HEADERS, END_HEADERS, 3, OK);
  server.send(DATA, 0, 3, Buffer.alloc(16_000));
  server.send(HEADERS, END_HEADERS | END_STREAM, 3, Buffer.from('\0\x01a\x01b', 'latin1'));
  server.send(RST_STREAM, 0, 3, word(0));
  // What follows is not a stream's that is over, and has been heard.
  server.send(PING, 0, 0, Buffer.from('overtake'));
  await client.until(PING);
  client.send(WINDOW_UPDATE, 0, 0, word(61_000));
  const rest = await client.until(DATA);
  t.is(rest.payload.length, 16_000 - 5535);
  const trailers = await client.next();
  t.deepEqual([trailers.type, trailers.flags], [HEADERS, END_HEADERS | END_STREAM]);
  t.deepEqual(plain(await client.next()), sent(RST_STREAM, 0, 3, word(0)));
});

test('a PING behind what a program has said is answered here: the application would count it', async (t) => {
  const {client, server} = await joined(t, [await stealsMine(t)]);
  const ping = async (text: string) => {
    client.send(PING, 0, 0, Buffer.from(text));
    return (await server.until(PING)).payload.toString();
  };
  t.is(await ping('before..'), 'before..');
  client.send(HEADERS, END_HEADERS | END_STREAM, 1, MINE);
  t.is(String((await client.until(DATA)).payload), 'program');
  client.send(PING, 0, 0, Buffer.from('measures'));
  t.deepEqual(plain(await client.until(PING)), sent(PING, ACK, 0, Buffer.from('measures')));
  t.is(await ping('is there'), 'is there', 'the next one is not about that');
});

test('without an application programs answer, and everything else is refused', async (t) => {
  const {port, relays} = await relay(t, NOBODY, [await stealsMine(t)]);
  const client = await Wire.client(t, port);
  client.send(HEADERS, END_HEADERS | END_STREAM, 1, GET_ROOT);
  client.send(PING, 0, 0, Buffer.from('12345678'));
  client.send(HEADERS, END_HEADERS | END_STREAM, 3, MINE);
  t.deepEqual(plain(await client.next()), sent(SETTINGS, 0, 0, settings([3, 1024], [6, 262_144])));
  t.deepEqual(plain(await client.next()), sent(SETTINGS, ACK, 0));
  t.deepEqual(plain(await client.next()), sent(RST_STREAM, 0, 1, word(7)));
  t.deepEqual(plain(await client.next()), sent(PING, ACK, 0, Buffer.from('12345678')));
  t.is((await client.next()).stream, 3);
  client.socket.end();
  client.socket.resume();
  await Promise.all(relays);
});

test('an application that dies leaves programs their streams, and takes no others', async (t) => {
  const waiting = createServer();
  const asked = once(waiting, 'stream');
  const mine = subscription(await listen(t, waiting), {filter: wantsHeader('^x-user: me$')});
  const {client, server} = await joined(t, [mine]);
  client.send(HEADERS, END_HEADERS | END_STREAM, 1, MINE);
  client.send(HEADERS, END_HEADERS | END_STREAM, 3, GET_ROOT);
  await server.next();
  const [stream] = (await asked) as [ServerHttp2Stream];
  server.socket.resetAndDestroy();
  t.deepEqual(plain(await client.until(RST_STREAM)), sent(RST_STREAM, 0, 3, word(2)));
  t.deepEqual(plain(await client.until(GOAWAY)), sent(GOAWAY, 0, 0, word(3, 0)));
  stream.respond({':status': 200});
  stream.end('last');
  t.is(String((await client.until(DATA)).payload), 'last');
  client.socket.resume();
  t.is(await client.closed, 'end');
});

test('a connection that is let go serves what is on its way, and ends after it', async (t) => {
  const {client, server, relays, lettingGo} = await joined(t);
  client.send(HEADERS, END_HEADERS | END_STREAM, 1, GET_ROOT);
  await server.next();
  lettingGo.say();
  t.deepEqual(plain(await client.next()), sent(GOAWAY, 0, 0, word(0x7fff_ffff, 0)));
  const {type, payload} = await client.next();
  t.is(type, PING);
  client.send(HEADERS, END_HEADERS | END_STREAM, 3, GET_ROOT);
  client.send(PING, ACK, 0, payload);
  t.deepEqual(plain(await client.next()), sent(GOAWAY, 0, 0, word(3, 0)));
  client.send(HEADERS, END_HEADERS | END_STREAM, 5, GET_ROOT);
  t.is((await server.next()).stream, 3);
  for (const stream of [1, 3]) server.send(HEADERS, END_HEADERS | END_STREAM, stream, OK);
  for (const stream of [1, 3]) t.is((await client.next()).stream, stream);
  client.socket.resume();
  server.socket.resume();
  t.deepEqual([await client.closed, await server.closed], ['end', 'end']);
  client.socket.end();
  server.socket.end();
  await Promise.all(relays);
});

// ---- hostile clients ----

/** What each breaks, after a request on stream 1, and the code that RFC 9113 has for it. */
const offences: Record<string, readonly [frames: readonly Buffer[], code: number]> = {
  'DATA of no stream': [[frame(DATA, 0, 0)], 1],
  'DATA of a stream that is not open': [[frame(DATA, 0, 3, Buffer.alloc(1))], 1],
  'HEADERS of an even stream': [[frame(HEADERS, END_HEADERS, 2, GET_ROOT)], 1],
  'HEADERS of no stream': [[frame(HEADERS, END_HEADERS, 0, GET_ROOT)], 1],
  'a block that is none': [[frame(HEADERS, END_HEADERS, 3, Buffer.from([0xff, 0xff]))], 9],
  'padding that is longer than its HEADERS': [
    [frame(HEADERS, END_HEADERS | PADDED, 3, Buffer.from([9]))],
    1,
  ],
  'CONTINUATION of nothing': [[frame(CONTINUATION, END_HEADERS, 3, GET_ROOT)], 1],
  'a frame inside of a block': [
    [frame(HEADERS, 0, 3, GET_ROOT), frame(PING, 0, 0, Buffer.alloc(8))],
    1,
  ],
  'CONTINUATION of another stream': [
    [frame(HEADERS, 0, 3, GET_ROOT), frame(CONTINUATION, 4, 5)],
    1,
  ],
  'a block without an end': [
    [frame(HEADERS, 0, 3, GET_ROOT), ...Array.from({length: 40}, () => frame(CONTINUATION, 0, 3))],
    11,
  ],
  'RST_STREAM of a stream that is not open': [[frame(RST_STREAM, 0, 3, word(8))], 1],
  'RST_STREAM of a wrong size': [[frame(RST_STREAM, 0, 1, Buffer.alloc(5))], 6],
  'SETTINGS of a wrong size': [[frame(SETTINGS, 0, 0, Buffer.alloc(5))], 6],
  'SETTINGS of a stream': [[frame(SETTINGS, 0, 1)], 1],
  'an ACK with settings': [[frame(SETTINGS, ACK, 0, settings([3, 1]))], 6],
  'a window that is too large': [[frame(SETTINGS, 0, 0, settings([4, 0x8000_0000]))], 3],
  'frames that are too small': [[frame(SETTINGS, 0, 0, settings([5, 16_383]))], 1],
  'a push of a client': [
    [frame(PUSH_PROMISE, END_HEADERS, 1, Buffer.concat([word(2), GET_ROOT]))],
    1,
  ],
  'PING of a wrong size': [[frame(PING, 0, 0, Buffer.alloc(7))], 6],
  'PING of a stream': [[frame(PING, 0, 1, Buffer.alloc(8))], 1],
  'GOAWAY of a wrong size': [[frame(GOAWAY, 0, 0, Buffer.alloc(7))], 6],
  'WINDOW_UPDATE by nothing': [[frame(WINDOW_UPDATE, 0, 0, word(0))], 1],
  'WINDOW_UPDATE of a wrong size': [[frame(WINDOW_UPDATE, 0, 0, Buffer.alloc(5))], 6],
  'WINDOW_UPDATE of a stream that is not open': [[frame(WINDOW_UPDATE, 0, 3, word(1))], 1],
  'a window of the connection that overflows': [
    [frame(WINDOW_UPDATE, 0, 0, word(0x7fff_ffff)), frame(WINDOW_UPDATE, 0, 0, word(0x7fff_ffff))],
    3,
  ],
  'PRIORITY that is too large to be kept': [[frame(PRIORITY, 0, 1, Buffer.alloc(262_145))], 6],
  'DATA beyond the connection’s window': [
    [
      frame(HEADERS, END_HEADERS, 3, POST_ROOT),
      ...Array.from({length: 5}, () => frame(DATA, 0, 3, Buffer.alloc(16_000))),
    ],
    3,
  ],
};

/** What does not keep us from reading along. */
const followed = ['DATA of a stream that is not open', 'DATA beyond the connection’s window'];

for (const [what, [frames, code]] of Object.entries(offences)) {
  test(`${what} is the application’s to judge while all streams are its own`, async (t) => {
    const {port: at, accept} = await application(t);
    const {port, relays} = await relay(t, at, [await stealsMine(t)]);
    const socket = await dial(port);
    const client = new Wire(socket);
    const said = Buffer.concat([
      Buffer.from(PREFACE),
      frame(SETTINGS, 0, 0),
      frame(HEADERS, END_HEADERS | END_STREAM, 1, GET_ROOT),
      ...frames,
      frame(PING, 0, 0, Buffer.from('and more')),
      // Nothing is looked at any more.
      frame(HEADERS, END_HEADERS | END_STREAM, 9, followed.includes(what) ? GET_ROOT : MINE),
    ]);
    socket.write(said);
    const server = await accept();
    let heard = Buffer.alloc(0);
    while (heard.length < said.length) heard = Buffer.concat([heard, await server.bytes()]);
    t.deepEqual(heard.toString('hex'), said.toString('hex'));
    const answer = [frame(SETTINGS, 0, 0), frame(GOAWAY, 0, 0, word(1, code))];
    server.socket.end(Buffer.concat(answer));
    t.is((await client.until(GOAWAY)).payload.readUInt32BE(4), code);
    socket.resume();
    t.is(await client.closed, 'end');
    socket.end();
    server.socket.resume();
    t.is(await server.closed, 'end');
    await Promise.all(relays);
    t.is(httpCounters.internalErrors, 0);
  });

  test(`${what} ends the connection with the code ${code}, once a program had a stream`, async (t) => {
    const {client, server, relays} = await joined(t, [await stealsMine(t)]);
    client.send(HEADERS, END_HEADERS | END_STREAM, 1, MINE);
    t.is(String((await client.until(DATA)).payload), 'program');
    client.socket.write(Buffer.concat(frames));
    server.socket.resume();
    const goaway = await client.until(GOAWAY);
    t.is(goaway.payload.readUInt32BE(4), code);
    client.socket.resume();
    t.is(await client.closed, 'end');
    client.socket.end();
    t.is(await server.closed, 'end');
    server.socket.end();
    await Promise.all(relays);
    t.is(httpCounters.internalErrors, 0);
  });
}

/** Nobody's, once the body is known. */
function wantsBodies(): HttpSubscription {
  const byBody = wants({kind: 'body', query: '$.user', pattern: {source: '^me$', flags: ''}});
  const conditions = [...wantsHeader('^x-user: me$').conditions, ...byBody.conditions];
  return subscription(NOBODY, {filter: {join: 'all', conditions}});
}

test('a stream of which a filter thought is behind those that passed meanwhile, and has the next number', async (t) => {
  const {client, server} = await joined(t, [wantsBodies()]);
  client.send(HEADERS, END_HEADERS, 1, MINE);
  client.send(HEADERS, END_HEADERS | END_STREAM, 3, GET_ROOT);
  t.is((await server.next()).stream, 3);
  client.send(DATA, END_STREAM, 1, Buffer.from('{}'));
  t.is((await server.next()).stream, 5);
  t.deepEqual(plain(await server.next()), sent(DATA, END_STREAM, 5, Buffer.from('{}')));
  client.send(HEADERS, END_HEADERS | END_STREAM, 5, GET_ROOT);
  t.is((await server.next()).stream, 7);
  for (const stream of [7, 5, 3]) server.send(HEADERS, END_HEADERS | END_STREAM, stream, OK);
  for (const stream of [5, 1, 3]) t.is((await client.until(HEADERS)).stream, stream);
});

test('of a request of which a filter thought, the client may send what the application takes, and no more', async (t) => {
  const {client, server} = await joined(t, [wantsBodies()], [4, 20_000]);
  server.send(WINDOW_UPDATE, 0, 0, word(1_000_000));
  await client.until(WINDOW_UPDATE);
  client.send(SETTINGS, ACK, 0);
  client.send(HEADERS, END_HEADERS, 1, MINE);
  const update = async (): Promise<number> => {
    for (;;) {
      const {stream, payload} = await client.until(WINDOW_UPDATE);
      if (stream === 1) return payload.readInt32BE();
    }
  };
  let [allowed, sentBytes] = [20_000, 0];
  const send = (): void => {
    const count = Math.min(10_000, allowed - sentBytes);
    client.send(DATA, 0, 1, Buffer.alloc(count, 'x'));
    sentBytes += count;
  };
  // More than a filter looks at, of which it gets as much as it looks at.
  while (sentBytes <= 65_536) {
    if (allowed === sentBytes) allowed += await update();
    send();
  }
  const receive = async (count: number): Promise<void> => {
    for (let got = 0; got < count; ) got += (await server.until(DATA)).payload.length;
  };
  await receive(20_000);
  server.send(WINDOW_UPDATE, 0, 1, word(100_000));
  t.is(await update(), 120_000 - allowed);
  allowed = 120_000;
  await receive(sentBytes - 20_000);
  // And then it passes as any other.
  server.send(WINDOW_UPDATE, 0, 1, word(7));
  t.is(await update(), 7);
  client.send(DATA, END_STREAM, 1, Buffer.from('end'));
  t.deepEqual(plain(await server.until(DATA)), sent(DATA, END_STREAM, 1, Buffer.from('end')));
});

test('a request that servers read in different ways is not looked at, and the application’s as it is', async (t) => {
  const {client, server} = await joined(t, [await stealsMine(t)]);
  const twice = Buffer.concat([MINE, Buffer.from([0x82])]);
  client.send(HEADERS, END_HEADERS | END_STREAM, 1, twice);
  t.deepEqual(server.linesOf(await server.next()), [
    ...[
      ':method: POST',
      ':path: /',
      ':scheme: http',
      ':authority: a',
      'x-user: me',
      ':method: GET',
    ],
  ]);
});

test('resets of stolen streams have a limit; those of the application are its own affair', async (t) => {
  const {client, server} = await joined(t, [await stealsMine(t)]);
  const count = 1200;
  for (let at = 0; at < count; at++) {
    client.send(HEADERS, END_HEADERS | END_STREAM, 2 * at + 1, GET_ROOT);
    client.send(RST_STREAM, 0, 2 * at + 1, word(8));
  }
  for (let at = 0; at < count; at++) t.is((await server.until(RST_STREAM)).stream, 2 * at + 1);
  for (let at = count; at < 2 * count; at++) {
    client.send(HEADERS, END_HEADERS | END_STREAM, 2 * at + 1, MINE);
    client.send(RST_STREAM, 0, 2 * at + 1, word(8));
  }
  t.is((await client.until(GOAWAY)).payload.readUInt32BE(4), 11);
});

test('a client that breaks a stolen stream’s window loses the stream, and nothing else', async (t) => {
  const stuck = createServer();
  stuck.on('stream', (stream) => stream.on('error', () => {}));
  const mine = subscription(await listen(t, stuck), {filter: wantsHeader('^x-user: me$')});
  const {client, server} = await joined(t, [mine], [4, 10_000]);
  server.send(WINDOW_UPDATE, 0, 0, word(1_000_000));
  await client.until(WINDOW_UPDATE);
  client.send(SETTINGS, ACK, 0);
  client.send(HEADERS, END_HEADERS, 1, MINE);
  for (let at = 0; at < 10; at++) client.send(DATA, 0, 1, Buffer.alloc(16_000));
  t.deepEqual(plain(await client.until(RST_STREAM)), sent(RST_STREAM, 0, 1, word(3)));
  client.send(PING, 0, 0, Buffer.from('12345678'));
  t.is((await server.until(PING)).payload.toString(), '12345678');
});

// ---- anything ----

const payload = fc.oneof(
  fc.constant(GET_ROOT),
  fc.constant(MINE),
  fc.constant(OK),
  fc.constantFrom(word(1), word(0x7fff_ffff), word(0, 0), settings([4, 5]), Buffer.alloc(8)),
  fc.uint8Array({maxLength: 40}),
);
const anyFrame = fc
  .tuple(
    fc.oneof(fc.constantFrom(0, 1, 3, 8), fc.integer({min: 0, max: 10})),
    fc.oneof(fc.constantFrom(0, 1, 4, 5), fc.integer({min: 0, max: 255})),
    fc.constantFrom(0, 1, 1, 3, 3, 5, 2),
    payload,
  )
  .map(([type, flags, stream, bytes]) => frame(type, flags, stream, bytes));

test('whatever either end says, the relay ends with them, and makes no mistake', async (t) => {
  const mine = await stealsMine(t);
  const {port: at, accept} = await application(t);
  const {port, relays} = await relay(t, at, [mine]);
  await fc.assert(
    fc.asyncProperty(
      fc.array(anyFrame, {maxLength: 25}),
      fc.array(anyFrame, {maxLength: 25}),
      fc.boolean(),
      async (ofClient, ofServer, isGreeted) => {
        const client = await Wire.client(t, port);
        const server = await accept();
        for (const one of [client, server]) one.socket.resume();
        if (isGreeted) server.send(SETTINGS, 0, 0);
        for (let step = 0; step < Math.max(ofClient.length, ofServer.length); step++) {
          client.socket.write(ofClient[step] ?? '');
          server.socket.write(ofServer[step] ?? '');
          await new Promise((resolve) => setImmediate(resolve));
        }
        client.socket.destroySoon();
        server.socket.destroySoon();
        await Promise.all(relays);
      },
    ),
    {numRuns: 400},
  );
  t.is(httpCounters.internalErrors, 0);
});

test('a flood without use costs no memory, and ends with its client', async (t) => {
  for (const flood of [
    frame(SETTINGS, 0, 0),
    frame(PING, 0, 0, Buffer.alloc(8)),
    frame(PRIORITY, 0, 1, Buffer.alloc(5)),
    frame(WINDOW_UPDATE, 0, 1, word(1)),
    frame(DATA, 0, 1),
  ]) {
    const {port, relays} = await relay(t, NOBODY, [await stealsMine(t)]);
    const client = await Wire.client(t, port);
    client.send(HEADERS, END_HEADERS, 1, MINE);
    const chunk = Buffer.concat(Array.from({length: 1000}, () => flood));
    // It reads nothing.
    for (let at = 0; at < 200 && !client.socket.destroyed; at++) client.socket.write(chunk);
    await delay(0);
    client.socket.resetAndDestroy();
    await Promise.all(relays);
  }
  t.is(httpCounters.internalErrors, 0);
});
