import {once} from 'node:events';
import {createServer} from 'node:http';
import {connect as connectHttp2, createServer as createHttp2Server} from 'node:http2';
import {connect, createServer as createTcpServer} from 'node:net';
import test from 'ava';
import fc from 'fast-check';
import {httpCounters} from '../../../../agent/intercept/http/counters.ts';
import {router} from '../../../../agent/intercept/http/shared-router.ts';
import {
  HTTP_DEFAULTS,
  type HttpOptions,
  type HttpSubscription,
} from '../../../../agent/intercept/http/types.ts';
import {RequestWatch} from '../../../../agent/intercept/http/watch/request-watch.ts';
import {waitingCopies} from '../../../../agent/intercept/waiting-copies.ts';
import {until} from '../../../helpers/until.ts';
import {listen, subscription, wants, wantsHeader} from './world.ts';

test.after('nothing of what waited is counted any more', async (t) => {
  await until(() => waitingCopies.bytes === 0);
  t.pass();
});

function watch(
  subscriptions: readonly HttpSubscription[],
  options: Partial<HttpOptions> = {},
): RequestWatch {
  return new RequestWatch({
    subscriptions: () => subscriptions,
    options: {...HTTP_DEFAULTS, ...options},
    router,
    counters: httpCounters,
  });
}

/** A program that keeps what it is asked. */
function program() {
  const heard: string[] = [];
  const server = createServer({keepAliveTimeout: 0}, (asked, response) => {
    let body = '';
    asked.on('error', () => heard.push('cut off'));
    asked.on('data', (chunk) => {
      body += chunk;
    });
    asked.on('end', () => {
      const trailers = Object.keys(asked.trailers).join();
      heard.push(`${asked.method} ${asked.url} ${body}${trailers}`);
      response.end('answer');
    });
  });
  return {server, heard};
}

const request = fc.record({
  isMine: fc.boolean(),
  framing: fc.constantFrom('none', 'length', 'chunks'),
  size: fc.oneof(fc.nat(3), fc.nat(3_000), fc.nat(20_000)),
});
type Request = typeof request extends fc.Arbitrary<infer T> ? T : never;

const bodyOf = ({framing, size}: Request, at: number): string =>
  framing === 'none' ? '' : String(at).repeat(size);

function emit(one: Request, at: number): Buffer {
  const body = bodyOf(one, at);
  const head = `${one.framing === 'none' ? 'GET' : 'POST'} /${at} HTTP/1.1\r\nHost: here\r\nX-User: ${one.isMine ? 'me' : 'you'}\r\n`;
  if (one.framing === 'none') return Buffer.from(`${head}\r\n`);
  if (one.framing === 'length')
    return Buffer.from(`${head}Content-Length: ${body.length}\r\n\r\n${body}`);
  const chunk = body === '' ? '' : `${body.length.toString(16)}\r\n${body}\r\n`;
  return Buffer.from(`${head}Transfer-Encoding: chunked\r\n\r\n${chunk}0\r\nX-End: 1\r\n\r\n`);
}

for (const [kind, conditions] of Object.entries({
  'a filter of headers': wantsHeader('^x-user: me$'),
  // Look-around is the worker's to answer.
  'a filter that takes time': wantsHeader('^x-user: (?!you).*$'),
})) {
  test(`${kind}: however requests are cut, those that fit are copied whole and in order`, async (t) => {
    const {server, heard} = program();
    const port = await listen(t, server);
    await fc.assert(
      fc.asyncProperty(
        fc.array(request, {minLength: 1, maxLength: 6}),
        fc.array(fc.double({min: 0, max: 1, noNaN: true}), {maxLength: 8}),
        async (requests, cuts) => {
          heard.length = 0;
          const expected = requests.flatMap((one, at) => {
            const method = one.framing === 'none' ? 'GET' : 'POST';
            const trailers = one.framing === 'chunks' ? 'x-end' : '';
            return one.isMine ? [`${method} /${at} ${bodyOf(one, at)}${trailers}`] : [];
          });
          const bytes = Buffer.concat(requests.map(emit));
          const places = cuts
            .map((share) => Math.floor(share * bytes.length))
            .sort((a, b) => a - b);
          const watched = watch([subscription(port, {mode: 'mirror', filter: conditions})]);
          let from = 0;
          for (const to of [...places, bytes.length]) {
            watched.write(new Uint8Array(bytes.subarray(from, to)));
            from = to;
          }
          watched.end();
          await until(() => heard.length >= expected.length);
          t.deepEqual(heard, expected);
          t.false(watched.isAlive);
        },
      ),
      {numRuns: 60},
    );
  });
}

test('a filter of bodies sees them, and the copy has them', async (t) => {
  const {server, heard} = program();
  const filter = wants({kind: 'body', query: '$.user', pattern: {source: '^me$', flags: ''}});
  const watched = watch([subscription(await listen(t, server), {mode: 'mirror', filter})]);
  const post = (path: string, body: string): void => {
    const head = `POST ${path} HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`;
    watched.write(Buffer.from(head + body.slice(0, 5)));
    watched.write(Buffer.from(body.slice(5)));
  };
  post('/1', '{"user":"me","n":1}');
  post('/2', '{"user":"you","n":2}');
  post('/3', '{"user":"me","n":3}');
  await until(() => heard.length === 2);
  t.deepEqual(heard, ['POST /1 {"user":"me","n":1}', 'POST /3 {"user":"me","n":3}']);
  watched.end();
});

test('a body that does not come in time does not fit, and later requests are looked at', async (t) => {
  const {server, heard} = program();
  const filter = wants(
    {kind: 'body', query: '$.user', pattern: {source: '^me$', flags: ''}},
    {kind: 'path', pattern: {source: '^/mine$', flags: ''}},
  );
  const client = subscription(await listen(t, server), {mode: 'mirror', filter});
  const watched = watch([client], {bodyTimeoutMs: 20});
  const {unreadBodies} = httpCounters;
  watched.write(
    Buffer.from('POST /slow HTTP/1.1\r\nHost: here\r\nContent-Length: 13\r\n\r\n{"user"'),
  );
  await until(() => httpCounters.unreadBodies > unreadBodies);
  watched.write(Buffer.from(':"me"}GET /mine HTTP/1.1\r\nHost: here\r\n\r\n'));
  await until(() => heard.length === 1);
  t.deepEqual(heard, ['GET /mine ']);
  watched.end();
});

test('what is not clear, and what is no HTTP, ends the watch', async (t) => {
  const {server, heard} = program();
  const client = subscription(await listen(t, server), {
    mode: 'mirror',
    filter: wantsHeader('^host: here$'),
  });
  const first = 'GET /first HTTP/1.1\r\nHost: here\r\n\r\n';
  const ends: Record<string, string> = {
    tls: '\x16\x03\x01\x02\x00',
    'two lengths': `${first}POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx`,
    'a bare LF': `${first}GET / HTTP/1.1\nHost: here\n\n`,
    'another protocol after an upgrade': `${first}GET /chat HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x85\0\0\0\0Hello\n`,
    'a tunnel': `${first}CONNECT other:80 HTTP/1.1\r\nHost: here\r\n\r\nGET /other HTTP/1.1\r\nHost: here\r\n\r\n`,
    'the last request': `${first}GET /last HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\nGET /more HTTP/1.1\r\nHost: here\r\n\r\n`,
  };
  for (const [what, bytes] of Object.entries(ends)) {
    const watched = watch([client]);
    watched.write(Buffer.from(bytes, 'latin1'));
    t.false(watched.isAlive, what);
  }
  await until(() => heard.filter((line) => line === 'GET /first ').length === 5);
  t.false(heard.some((line) => /other|more/.test(line)));
});

test('a connection that breaks in a request cuts its copy off', async (t) => {
  const {server, heard} = program();
  const client = subscription(await listen(t, server), {
    mode: 'mirror',
    filter: wantsHeader('^host: here$'),
  });
  const watched = watch([client]);
  watched.write(Buffer.from('POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 100\r\n\r\nhalf'));
  const [asked] = await once(server, 'request');
  t.truthy(asked);
  watched.reset();
  await until(() => heard.length === 1);
  t.deepEqual(heard, ['cut off']);
});

test('what comes faster than a filter thinks is given up, and told', async (t) => {
  const {server} = program();
  const client = subscription(await listen(t, server), {
    mode: 'mirror',
    filter: wantsHeader('^x-user: (?!you).*$'),
  });
  const watched = watch([client]);
  const body = Buffer.alloc(2_000_000, 'x');
  watched.write(
    Buffer.concat([
      Buffer.from(`POST / HTTP/1.1\r\nHost: here\r\nX-User: me\r\nContent-Length: 2000000\r\n\r\n`),
      body,
    ]),
  );
  t.false(watched.isAlive);
  t.deepEqual(client.warnings, ['MIRRORD_HTTP_MIRROR_SLOW']);
});

test('who does not mirror any more gets no more', async (t) => {
  const {server, heard} = program();
  const client = subscription(await listen(t, server), {
    mode: 'mirror',
    filter: wantsHeader('^host: here$'),
  });
  let all: readonly HttpSubscription[] = [client];
  const watched = new RequestWatch({
    subscriptions: () => all,
    options: HTTP_DEFAULTS,
    router,
    counters: httpCounters,
  });
  watched.write(Buffer.from('GET /1 HTTP/1.1\r\nHost: here\r\n\r\n'));
  await until(() => heard.length === 1);
  all = [];
  t.false(watched.isAlive, 'so that nothing is captured for it any more');
  watched.write(Buffer.from('GET /2 HTTP/1.1\r\nHost: here\r\n\r\n'));
  t.false(watched.isAlive);
  t.deepEqual(heard, ['GET /1 ']);
});

// ---- HTTP/2: what a client of Node's says to a server of Node's is looked at on its way ----

test('HTTP/2: streams that fit are copied, with their bodies and trailers', async (t) => {
  const serve = (heard: string[]) => {
    const server = createHttp2Server({settings: {headerTableSize: 16_384}});
    server.on('stream', (stream, headers) => {
      let body = '';
      let trailers = '';
      stream.on('error', () => heard.push('cut off'));
      stream.on('trailers', (all) => {
        trailers = Object.keys(all).join();
      });
      stream.on('data', (chunk) => {
        body += chunk;
      });
      stream.on('end', () => {
        heard.push(
          `${headers[':method']} ${headers[':path']} ${body.length}${body.at(-1) ?? ''}${trailers}`,
        );
        if (!stream.destroyed) stream.respond({':status': 200}, {endStream: true});
      });
    });
    return server;
  };
  const answered: string[] = [];
  const heard: string[] = [];
  const slow: string[] = [];
  const application = await listen(t, serve(answered));
  const subscriptions = [
    subscription(await listen(t, serve(heard)), {
      mode: 'mirror',
      filter: wantsHeader('^x-user: me$'),
    }),
    subscription(await listen(t, serve(slow)), {
      mode: 'mirror',
      filter: wantsHeader('^x-user: (?!you).*$'),
    }),
  ];
  const watches: RequestWatch[] = [];
  const between = createTcpServer((client) => {
    const watched = watch(subscriptions);
    watches.push(watched);
    const server = connect(application, '127.0.0.1');
    client.on('data', (chunk) => {
      watched.write(new Uint8Array(chunk));
      server.write(chunk);
    });
    client.on('close', () => {
      watched.end();
      server.destroy();
    });
    server.on('error', () => undefined).pipe(client);
    client.on('error', () => undefined);
  });
  const session = connectHttp2(`http://127.0.0.1:${await listen(t, between)}`);
  t.teardown(() => session.destroy());
  const send = async (at: number): Promise<void> => {
    const stream = session.request(
      {
        ':method': at % 5 === 0 ? 'GET' : 'POST',
        ':path': `/${at}`,
        'x-user': at % 2 === 0 ? 'me' : 'you',
        // Long enough to fill a table.
        'x-filler': `${at % 7}`.repeat(900),
      },
      {waitForTrailers: at % 3 === 0, endStream: at % 5 === 0},
    );
    stream.resume();
    if (at % 5 !== 0) {
      if (at % 3 === 0) stream.on('wantTrailers', () => stream.sendTrailers({'x-end': '1'}));
      stream.end(String(at % 10).repeat(at * 30));
    }
    await once(stream, 'close');
  };
  const all = Array.from({length: 200}, (_, at) => at);
  await Promise.all(all.map((at) => send(at)));
  const expected = answered.filter((line) => Number(/\/(\d+)/.exec(line)?.[1]) % 2 === 0).sort();
  t.is(expected.length, 100);
  await until(() => heard.length >= 100 && slow.length >= 100);
  t.deepEqual(heard.toSorted(), expected);
  t.deepEqual(slow.toSorted(), expected);
  session.close();
  await until(() => watches.every(({isAlive}) => !isAlive));
});

test('HTTP/2: any bytes at all end in nothing worse than the end of the watch', (t) => {
  const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
  const {internalErrors} = httpCounters;
  fc.assert(
    fc.property(fc.array(fc.uint8Array({maxLength: 60})), fc.nat(9), (chunks, type) => {
      const watched = watch([subscription(1, {mode: 'mirror', filter: wantsHeader('x')})]);
      watched.write(preface);
      for (const chunk of chunks) {
        const head = Buffer.from([0, 0, chunk.length, type, chunk[0] ?? 0, 0, 0, 0, 1]);
        watched.write(Buffer.concat([head, chunk]));
      }
      watched.end();
      return !watched.isAlive;
    }),
    {numRuns: 300},
  );
  t.is(httpCounters.internalErrors, internalErrors);
});
