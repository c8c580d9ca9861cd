import {once} from 'node:events';
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  createServer,
  type ServerHttp2Stream,
} from 'node:http2';
import {createServer as createTcpServer, type Socket} from 'node:net';
import {duplexPair} from 'node:stream';
import test, {type ExecutionContext} from 'ava';
import {DuplexSocket} from '../../../../sockets/duplex-socket.ts';
import type {StreamSocket} from '../../../../sockets/types.ts';
import {dial, listen, NOBODY, readAll, relay, subscription, wants, wantsHeader} from './world.ts';

/** A server that answers every stream by its name, the path, and the body. */
function named(name: string) {
  const server = createServer();
  server.on('stream', (stream: ServerHttp2Stream, headers) => {
    const chunks: Buffer[] = [];
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('error', () => {});
    stream.on('end', () => {
      stream.respond({':status': 200});
      stream.end(`${name} ${headers[':path']} ${Buffer.concat(chunks)}`);
    });
  });
  return server;
}

function open(t: ExecutionContext, port: number): ClientHttp2Session {
  const session = connect(`http://127.0.0.1:${port}`);
  session.on('error', () => {});
  t.teardown(() => session.destroy());
  return session;
}

interface Answer {
  readonly status: number;
  readonly headers: readonly string[];
  readonly body: string;
  readonly trailers: readonly string[];
  readonly code: number;
}

function answerOf(stream: ClientHttp2Stream): Promise<Answer> {
  return new Promise((resolve) => {
    let status = 0;
    let headers: string[] = [];
    let trailers: string[] = [];
    let body = '';
    stream.on('response', (fields, _flags, raw?: string[]) => {
      status = fields[':status'] ?? 0;
      headers = raw ?? [];
    });
    stream.on('trailers', (_fields, _flags, raw?: string[]) => {
      trailers = raw ?? [];
    });
    stream.on('data', (chunk) => {
      body += chunk;
    });
    stream.on('error', () => {});
    stream.on('close', () => resolve({status, headers, body, trailers, code: stream.rstCode ?? 0}));
  });
}

function send(session: ClientHttp2Session, headers: Record<string, string>, body = '') {
  const method = body === '' ? 'GET' : 'POST';
  const stream = session.request({':method': method, ':path': '/', ...headers});
  // A GET has ended by itself.
  if (body !== '') stream.end(body);
  return answerOf(stream);
}

test('each stream of a session goes to its own side', async (t) => {
  const {port} = await relay(t, await listen(t, named('application')), [
    subscription(await listen(t, named('program')), {filter: wantsHeader('^x-user: me$')}),
  ]);
  const session = open(t, port);
  const users = Array.from({length: 60}, (_, at) => (at % 2 === 0 ? 'me' : 'you'));
  const answers = await Promise.all(
    users.map((user, at) => send(session, {':path': `/${at}`, 'x-user': user}, user)),
  );
  t.deepEqual(
    answers.map(({body}) => body),
    users.map((user, at) => `${user === 'me' ? 'program' : 'application'} /${at} ${user}`),
  );
});

test('an answer that comes in one piece by a stream of the tunnel keeps its head', async (t) => {
  const programPort = await listen(t, named('program'));
  const throughTunnel = async (): Promise<StreamSocket> => {
    const [near, far] = duplexPair();
    const socket = await dial(programPort);
    socket.on('error', () => undefined);
    far.pipe(socket).pipe(far);
    return new DuplexSocket(near);
  };
  const program = {...subscription(programPort), connect: throughTunnel};
  const {port} = await relay(t, NOBODY, [program]);
  const session = open(t, port);
  const answers = await Promise.all(
    Array.from({length: 20}, (_, at) => send(session, {':path': `/${at}`})),
  );
  for (const [at, {headers, body, code}] of answers.entries()) {
    t.deepEqual([body, code], [`program /${at} `, constants.NGHTTP2_NO_ERROR]);
    t.true(headers.includes('date'), "the program's own head, not one of Node's making");
  }
});

test('order and repetition of headers, interim responses, and trailers come through', async (t) => {
  const server = createServer();
  const heard: string[][] = [];
  const requestTrailers: string[][] = [];
  server.on('stream', (stream: ServerHttp2Stream, _headers, _flags, raw?: string[]) => {
    heard.push(raw ?? []);
    stream.on('trailers', (_fields, _flags, fields?: string[]) =>
      requestTrailers.push(fields ?? []),
    );
    stream.resume();
    stream.on('end', () => {
      stream.additionalHeaders({':status': 103, link: '</a>'});
      stream.respond(
        [':status', '200', 'b', '1', 'a', '2', 'b', '3'] as never,
        {
          waitForTrailers: true,
          sendDate: false,
        } as never,
      );
      stream.on('wantTrailers', () => stream.sendTrailers({'grpc-status': '0', x: ['1', '2']}));
      stream.end('body');
    });
  });
  const {port} = await relay(t, await listen(t, server), []);
  const sent = [
    ...[':method', 'POST', ':scheme', 'http', ':authority', 'me', ':path', '/a?b'],
    ...['z', '1', 'b', '2', 'z', '3'],
  ];
  const stream = open(t, port).request(sent as never, {waitForTrailers: true});
  stream.on('wantTrailers', () => stream.sendTrailers({checksum: '1'}));
  const interim: unknown[] = [];
  stream.on('headers', (fields) => interim.push(fields[':status'], fields['link']));
  stream.end('body');
  const answer = await answerOf(stream);
  t.deepEqual(heard, [sent]);
  t.deepEqual(requestTrailers, [['checksum', '1']]);
  t.deepEqual(interim, [103, '</a>']);
  t.deepEqual(answer.headers.slice(0, 8), [':status', '200', 'b', '1', 'a', '2', 'b', '3']);
  t.deepEqual(answer.trailers, ['grpc-status', '0', 'x', '1', 'x', '2']);
  t.is(answer.body, 'body');
});

test('an answer of trailers only stays one', async (t) => {
  const server = createServer();
  server.on('stream', (stream: ServerHttp2Stream) => {
    stream.respond({':status': 200, 'grpc-status': '5'}, {endStream: true});
  });
  const {port} = await relay(t, await listen(t, named('application')), [
    subscription(await listen(t, server)),
  ]);
  const stream = open(t, port).request({':method': 'POST', ':path': '/'});
  let flags = 0;
  stream.on('response', (_headers, found) => {
    flags = found;
  });
  stream.end('x');
  const {headers, code} = await answerOf(stream);
  t.true((flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0);
  t.true(headers.includes('grpc-status'));
  t.is(code, 0);
});

test('both directions of a stream flow at once', async (t) => {
  const server = createServer();
  server.on('stream', (stream: ServerHttp2Stream) => {
    stream.respond({':status': 200});
    stream.pipe(stream);
  });
  const {port} = await relay(t, await listen(t, named('application')), [
    subscription(await listen(t, server)),
  ]);
  const stream = open(t, port).request({':method': 'POST', ':path': '/'});
  for (let at = 0; at < 20; at++) {
    stream.write(`${at}`);
    const [echo] = await once(stream, 'data');
    t.is(String(echo), `${at}`);
  }
  stream.end();
  stream.resume();
  await once(stream, 'close');
  t.is(stream.rstCode, 0);
});

test('resets cross with their codes, both ways', async (t) => {
  const {promise, resolve} = Promise.withResolvers<number>();
  const server = createServer();
  server.on('stream', (stream: ServerHttp2Stream, headers) => {
    stream.on('error', () => {});
    stream.on('close', () => resolve(stream.rstCode));
    if (headers[':path'] === '/calm') stream.close(constants.NGHTTP2_ENHANCE_YOUR_CALM);
    else stream.respond({':status': 200});
  });
  const port = await listen(t, server);
  const relayed = await relay(t, port, []);
  const session = open(t, relayed.port);
  const stream = session.request({':method': 'POST', ':path': '/'});
  stream.on('error', () => {});
  await once(stream, 'response');
  stream.close(constants.NGHTTP2_CANCEL);
  t.is(await promise, constants.NGHTTP2_CANCEL);
  const {code} = await send(session, {':path': '/calm'});
  t.is(code, constants.NGHTTP2_ENHANCE_YOUR_CALM);
});

test('a program that is gone loses its streams to the application', async (t) => {
  const dying = createTcpServer((socket) => {
    socket.once('data', () => socket.resetAndDestroy());
  });
  const {port} = await relay(t, await listen(t, named('application')), [
    subscription(await listen(t, dying)),
  ]);
  const session = open(t, port);
  const {body} = await send(session, {}, 'abc');
  t.is(body, 'application / abc');
  const other = await relay(t, await listen(t, named('application')), [subscription(NOBODY)]);
  t.is((await send(open(t, other.port), {}, 'abc')).body, 'application / abc');
});

test('a GOAWAY of the application becomes the client’s, after its streams', async (t) => {
  const server = createServer();
  server.on('stream', (stream: ServerHttp2Stream) => {
    stream.respond({':status': 200});
    stream.session?.close();
    stream.end('last');
  });
  const {port} = await relay(t, await listen(t, server), []);
  const session = open(t, port);
  const closed = once(session, 'close');
  const {body} = await send(session, {});
  t.is(body, 'last');
  await closed;
  t.pass();
});

test('a filter of bodies sees the body of a stream, and loses none of it', async (t) => {
  const body = JSON.stringify({user: 'me', padding: 'x'.repeat(20_000)});
  const {port} = await relay(t, await listen(t, named('application')), [
    subscription(await listen(t, named('program')), {
      filter: wants({kind: 'body', query: '$.user', pattern: {source: '^me$', flags: ''}}),
    }),
  ]);
  const session = open(t, port);
  t.is((await send(session, {}, body)).body, `program / ${body}`);
  const other = JSON.stringify({user: 'you'});
  t.is((await send(session, {}, other)).body, `application / ${other}`);
  const large = JSON.stringify({user: 'me', padding: 'x'.repeat(200_000)});
  t.is((await send(session, {}, large)).body, `application / ${large}`);
});

/** Frames of HTTP/2, for clients that Node would not be. */
function frame(type: number, flags: number, stream: number, payload = Buffer.alloc(0)): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** GET / of http, without an authority. */
const GET_ROOT = Buffer.from([0x82, 0x84, 0x86]);

async function flood(port: number, frames: (index: number) => Buffer, count: number) {
  const socket: Socket = await dial(port);
  socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
  socket.write(frame(4, 0, 0));
  socket.on('error', () => {});
  for (let at = 0; at < count && !socket.destroyed; at++) socket.write(frames(at));
  const answer = await readAll(socket).catch(() => 'reset');
  socket.destroy();
  return answer;
}

for (const [what, frames] of Object.entries({
  'rapid resets': (at: number) =>
    Buffer.concat([
      frame(1, 0x5, 2 * at + 1, GET_ROOT),
      frame(3, 0, 2 * at + 1, Buffer.from([0, 0, 0, 8])),
    ]),
  'endless CONTINUATION': (at: number) =>
    at === 0 ? frame(1, 0, 1, GET_ROOT) : frame(9, 0, 1, Buffer.from('@\x01a\x01b', 'latin1')),
})) {
  test(`${what} end the session, and harm nobody else`, async (t) => {
    const {port, relays} = await relay(t, await listen(t, named('application')), []);
    const session = open(t, port);
    t.is((await send(session, {}, 'before')).body, 'application / before');
    await flood(port, frames, 20_000);
    t.is((await send(session, {}, 'after')).body, 'application / after');
    t.true(relays.size <= 2);
  });
}
