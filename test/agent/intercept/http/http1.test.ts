import {once} from 'node:events';
import {Agent, createServer, get, request} from 'node:http';
import {createServer as createTcpServer, type Socket} from 'node:net';
import {setTimeout as delay} from 'node:timers/promises';
import test from 'ava';
import {held} from '../../../../agent/intercept/pass.ts';
import {
  ask,
  dial,
  listen,
  NOBODY,
  readAll,
  readUntil,
  recorder,
  relay,
  subscription,
  wants,
  wantsHeader,
} from './world.ts';

/** A server that says its name, the request line, and the body. */
function named(name: string) {
  return createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      response.end(`${name} ${request.method} ${request.url} ${Buffer.concat(chunks)}`);
    });
  });
}

/** A request over an agent of Node's; returns status, headers, body. */
function fetchOver(
  agent: Agent,
  port: number,
  {path = '/', headers = {}, body = ''}: {path?: string; headers?: object; body?: string} = {},
): Promise<{status: number; headers: Record<string, unknown>; body: string}> {
  return new Promise((resolve, reject) => {
    const asked = request({
      agent,
      host: '127.0.0.1',
      port,
      path,
      method: body === '' ? 'GET' : 'POST',
      headers: {...headers},
    });
    asked.on('error', reject);
    asked.on('response', (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk) => {
        text += chunk;
      });
      response.on('end', () =>
        resolve({status: response.statusCode ?? 0, headers: response.headers, body: text}),
      );
    });
    asked.end(body);
  });
}

test('each request of a connection goes to its own side', async (t) => {
  const application = await listen(t, named('application'));
  const program = await listen(t, named('program'));
  const {port} = await relay(t, application, [
    subscription(program, {filter: wantsHeader('^x-user: me$')}),
  ]);
  const agent = new Agent({keepAlive: true, maxSockets: 1});
  t.teardown(() => agent.destroy());
  const bodies: string[] = [];
  for (const user of ['you', 'me', 'you', 'me', 'me']) {
    const {body} = await fetchOver(agent, port, {headers: {'X-User': user}, body: user});
    bodies.push(body);
  }
  t.deepEqual(bodies, [
    'application POST / you',
    'program POST / me',
    'application POST / you',
    'program POST / me',
    'program POST / me',
  ]);
});

test('what is not for a client reaches the application byte for byte', async (t) => {
  const {server, heard} = recorder('HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n');
  const application = await listen(t, server);
  const program = await listen(t, named('program'));
  const {port} = await relay(t, application, [
    subscription(program, {filter: wantsHeader('^x-user: me$')}),
  ]);
  const sent =
    'PoSt /a?b=%20#c HTTP/1.1\r\nhOST:x\r\nX-A:  1 \r\nx-a:\t2\r\nTransfer-Encoding: chunked\r\nX-A: 1\r\n\r\n' +
    '3;a=b\r\nabc\r\n00A\r\n0123456789\r\n0\r\nTrailer: yes\r\n\r\n';
  t.is(
    await ask(port, sent),
    'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n'.replace(
      '\r\n\r\n',
      '\r\nCache-Control: no-cache, no-store, must-revalidate\r\n\r\n',
    ),
  );
  t.deepEqual(heard, [sent]);
});

test('pipelined requests are answered in their order, by the right side', async (t) => {
  const application = await listen(t, named('application'));
  const program = await listen(t, named('program'));
  const {port} = await relay(t, application, [
    subscription(program, {filter: wants({kind: 'path', pattern: {source: '^/mine', flags: 'i'}})}),
  ]);
  const paths = Array.from({length: 50}, (_, at) => (at % 3 === 0 ? `/mine/${at}` : `/${at}`));
  const heads = paths.map((path) => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
  const answer = await ask(port, heads.join(''));
  const answered = [...answer.matchAll(/(application|program) GET (\S+) /g)];
  t.deepEqual(
    answered.map(([, who, path]) => `${who} ${path}`),
    paths.map((path) => `${path.startsWith('/mine') ? 'program' : 'application'} ${path}`),
  );
});

test('a client that is silent is connected through, and hears the greeting', async (t) => {
  const application = await listen(
    t,
    createTcpServer((socket) => socket.end('220 ready\r\n')),
  );
  const {port} = await relay(t, application, [subscription(1, {filter: wantsHeader('x')})], {
    detectionTimeoutMs: 50,
  });
  const socket = await dial(port);
  t.is(await readAll(socket), '220 ready\r\n');
  socket.end();
});

test('a protocol that is no HTTP is connected through at once', async (t) => {
  const {server, heard} = recorder('+PONG\r\n');
  const {port} = await relay(t, await listen(t, server), [
    subscription(1, {filter: wantsHeader('x')}),
  ]);
  t.is(await ask(port, 'PING\r\n'), '+PONG\r\n');
  t.deepEqual(heard, ['PING\r\n']);
});

test('an unfiltered steal gets what is no HTTP as well', async (t) => {
  const {server, heard} = recorder('program\r\n');
  const {port} = await relay(t, await listen(t, named('application')), [
    subscription(await listen(t, server)),
  ]);
  t.is(await ask(port, '\x16\x03\x01'), 'program\r\n');
  t.deepEqual(heard, ['\x16\x03\x01']);
});

for (const [what, head] of Object.entries({
  'a length and chunks': 'Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  'two lengths': 'Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd',
  'a list of lengths': 'Content-Length: 3, 3\r\n\r\nabc',
  'a signed length': 'Content-Length: +3\r\n\r\nabc',
  'an unknown coding': 'Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n',
  'two codings': 'Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n',
  'a blank before the colon': 'Content-Length : 3\r\n\r\nabc',
  'a folded line': 'X: a\r\n b\r\n\r\n',
  'a bare LF': 'X: a\n\r\n\r\n',
  'a bare CR': 'X: a\rb\r\n\r\n',
  'a NUL': 'X: a\0b\r\n\r\n',
  'a disguised length': 'Content_Length: 3\r\n\r\nabc',
  'an oversized head': `X: ${'a'.repeat(70_000)}\r\n\r\n`,
  'a bad chunk': 'Transfer-Encoding: chunked\r\n\r\n5 \r\nabcde\r\n0\r\n\r\n',
  'a chunk with a bare LF': 'Transfer-Encoding: chunked\r\n\r\n5\nabcde\r\n0\r\n\r\n',
})) {
  test(`${what}: the application alone decides, also on what follows`, async (t) => {
    const {server, heard} = recorder('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n');
    const program = recorder();
    const {port} = await relay(t, await listen(t, server), [
      subscription(await listen(t, program.server), {filter: wantsHeader('^x-user: me$')}),
    ]);
    const smuggled = 'GET /smuggled HTTP/1.1\r\nX-User: me\r\n\r\n';
    const sent = `POST / HTTP/1.1\r\nHost: x\r\n${head}${smuggled}`;
    const answer = await ask(port, sent);
    t.regex(answer, /^HTTP\/1\.1 400 /);
    t.is(heard.join(''), sent);
    t.is(program.heard.join(''), '');
  });
}

test('a stolen request that turns out to be ambiguous goes to the application', async (t) => {
  const {server, heard} = recorder('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n');
  const program = recorder();
  const {port} = await relay(t, await listen(t, server), [
    subscription(await listen(t, program.server), {filter: wantsHeader('^x-user: me$')}),
  ]);
  const sent =
    'POST / HTTP/1.1\r\nX-User: me\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nbad\n';
  t.regex(await ask(port, sent), /^HTTP\/1\.1 400 /);
  t.deepEqual(heard, [sent]);
});

test('interim responses, and a body that waits for one, come through', async (t) => {
  const server = createServer();
  server.on('checkContinue', (request, response) => {
    response.writeEarlyHints({link: '</a.css>; rel=preload'});
    response.writeContinue();
    request.on('data', () => {});
    request.on('end', () => response.end('done'));
  });
  const program = await listen(t, server);
  const {port} = await relay(t, await listen(t, named('application')), [
    subscription(program, {filter: wantsHeader('^x-user: me$')}),
  ]);
  const asked = request({
    host: '127.0.0.1',
    port,
    method: 'PUT',
    headers: {'X-User': 'me', Expect: '100-continue', 'Content-Length': '5'},
    agent: false,
  });
  const events: string[] = [];
  asked.on('information', ({statusCode}) => events.push(`${statusCode}`));
  asked.on('continue', () => asked.end('12345'));
  asked.flushHeaders();
  const [response] = await once(asked, 'response');
  response.resume();
  await once(response, 'end');
  t.deepEqual(events, ['103', '100']);
  t.is(response.statusCode, 200);
});

test('HEAD, 204 and 304 have no body, whatever they declare', async (t) => {
  const server = createTcpServer((socket) => {
    socket.on('data', (chunk) => {
      for (const line of chunk.toString().match(/^[A-Z]+ \/\d*/gm) ?? []) {
        const status = line.split('/')[1] || '200';
        socket.write(`HTTP/1.1 ${status} x\r\nContent-Length: 10\r\n\r\n`);
      }
    });
    socket.on('end', () => socket.end());
  });
  const {port} = await relay(t, await listen(t, server), [
    subscription(1, {filter: wantsHeader('nobody')}),
  ]);
  const answer = await ask(
    port,
    'HEAD / HTTP/1.1\r\n\r\nGET /204 HTTP/1.1\r\n\r\nGET /304 HTTP/1.1\r\n\r\n',
  );
  t.deepEqual(answer.match(/^HTTP\/1.1 \d+/gm), ['HTTP/1.1 200', 'HTTP/1.1 204', 'HTTP/1.1 304']);
});

test('a response that ends with its connection ends the client’s', async (t) => {
  const server = createTcpServer((socket) => {
    socket.once('data', () => socket.end('HTTP/1.0 200 OK\r\n\r\nall of it'));
  });
  const {port} = await relay(t, await listen(t, server), []);
  const socket = await dial(port);
  socket.write('GET / HTTP/1.1\r\n\r\n');
  t.is(await readAll(socket), 'HTTP/1.0 200 OK\r\n\r\nall of it');
  socket.end();
});

test('an upgraded connection is the program’s, both ways', async (t) => {
  const server = createServer();
  server.on('upgrade', (_request, socket) => {
    socket.write(
      'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n',
    );
    socket.pipe(socket);
  });
  const program = await listen(t, server);
  const {port} = await relay(t, await listen(t, named('application')), [
    subscription(program, {filter: wantsHeader('^x-user: me$')}),
  ]);
  const socket = await dial(port);
  socket.write('GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: echo\r\nX-User: me\r\n\r\n');
  await readUntil(socket, /\r\n\r\n$/);
  socket.write('GET / HTTP/1.1\r\n\r\n');
  t.is(await readUntil(socket, /\r\n\r\n$/), 'GET / HTTP/1.1\r\n\r\n');
  socket.end();
  t.is(await readAll(socket), '');
});

test('a program that refuses loses the request to the application', async (t) => {
  const {port} = await relay(t, await listen(t, named('application')), [subscription(NOBODY)]);
  const agent = new Agent({keepAlive: true, maxSockets: 1});
  t.teardown(() => agent.destroy());
  const {body} = await fetchOver(agent, port, {body: 'abc'});
  t.is(body, 'application POST / abc');
});

test('a program that dies before it answers loses the request to the application', async (t) => {
  const dying = createTcpServer((socket) => {
    socket.once('data', () => socket.resetAndDestroy());
  });
  const {port} = await relay(t, await listen(t, named('application')), [
    subscription(await listen(t, dying)),
  ]);
  const agent = new Agent({keepAlive: true, maxSockets: 1});
  t.teardown(() => agent.destroy());
  const {body} = await fetchOver(agent, port, {body: 'x'.repeat(60_000)});
  t.is(body, `application POST / ${'x'.repeat(60_000)}`);
});

test('a request that is too large to be sent again is answered with 502', async (t) => {
  const dying = createTcpServer((socket) => {
    let count = 0;
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      count += chunk.length;
      if (count > 100_000) socket.resetAndDestroy();
    });
  });
  const application = recorder();
  const {port} = await relay(t, await listen(t, application.server), [
    subscription(await listen(t, dying)),
  ]);
  const socket = await dial(port);
  socket.write(`POST / HTTP/1.1\r\nContent-Length: 150000\r\n\r\n${'x'.repeat(150_000)}`);
  t.regex(await readAll(socket), /^HTTP\/1\.1 502 Bad Gateway\r\n.*\r\n\r\nmirrord: /s);
  socket.end();
  t.deepEqual(application.heard, []);
});

test('the end of the application’s idle connection ends the client’s', async (t) => {
  const server = named('application');
  server.keepAliveTimeout = 1;
  const {port} = await relay(t, await listen(t, server), []);
  const socket = await dial(port);
  socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  t.regex(await readAll(socket), /application GET/);
  socket.end();
});

test('what the application says unasked comes through', async (t) => {
  const {promise, resolve} = Promise.withResolvers<Socket>();
  const server = createTcpServer((socket) => {
    socket.once('data', () => {
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
      resolve(socket);
    });
  });
  const {port} = await relay(t, await listen(t, server), []);
  const socket = await dial(port);
  socket.write('GET / HTTP/1.1\r\n\r\n');
  await readUntil(socket, /\r\n\r\n$/);
  socket.write('GET /half');
  (await promise).end('HTTP/1.1 408 Request Timeout\r\n\r\n');
  t.is(await readAll(socket), 'HTTP/1.1 408 Request Timeout\r\n\r\n');
  socket.end();
});

test('a reset of the client resets the application’s connection, and the other way round', async (t) => {
  const {promise, resolve} = Promise.withResolvers<string>();
  const server = createTcpServer((socket) => {
    socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''));
    socket.on('data', (chunk) => {
      if (chunk.includes('/reset')) socket.resetAndDestroy();
    });
  });
  const {port} = await relay(t, await listen(t, server), []);
  const first = await dial(port);
  first.write('GET / HTTP/1.1\r\n\r\n');
  first.resetAndDestroy();
  t.is(await promise, 'ECONNRESET');
  const second = await dial(port);
  second.write('GET /reset HTTP/1.1\r\n\r\n');
  const error = await t.throwsAsync(readAll(second));
  t.is((error as NodeJS.ErrnoException).code, 'ECONNRESET');
});

test('responses say who answered, and caches are told off, as configured', async (t) => {
  const server = createServer((_request, response) => {
    response.setHeader('cache-control', 'max-age=60');
    response.end();
  });
  const application = await listen(t, server);
  const {port} = await relay(
    t,
    application,
    [subscription(await listen(t, named('program')), {filter: wantsHeader('^x-user: me$')})],
    {injectHeaders: true},
  );
  const agent = new Agent({keepAlive: true, maxSockets: 1});
  t.teardown(() => agent.destroy());
  const passed = await fetchOver(agent, port);
  t.is(passed.headers['cache-control'], 'no-cache, no-store, must-revalidate');
  t.is(passed.headers['mirrord-agent'], 'passed-through');
  const stolen = await fetchOver(agent, port, {headers: {'X-User': 'me'}});
  t.is(stolen.headers['cache-control'], undefined);
  t.is(stolen.headers['mirrord-agent'], 'forwarded-to-client');
  const mirrored = await relay(t, application, []);
  t.is((await fetchOver(agent, mirrored.port)).headers['cache-control'], 'max-age=60');
});

test('backpressure: what nobody reads is not taken from the application', async (t) => {
  let written = 0;
  const total = 200_000_000;
  const chunk = Buffer.alloc(65_536);
  const server = createServer((_request, response) => {
    const fill = (): void => {
      while (written < total) {
        written += chunk.length;
        if (!response.write(chunk)) return;
      }
      response.end();
    };
    response.on('drain', fill);
    fill();
  });
  const {port} = await relay(t, await listen(t, server), []);
  const response = await new Promise<import('node:http').IncomingMessage>((resolve) => {
    get({host: '127.0.0.1', port, agent: false}, resolve);
  });
  response.pause();
  let before = -1;
  while (before !== written) {
    before = written;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  t.true(written < 40_000_000, `${written} bytes were taken`);
  response.destroy();
});

test('backpressure: who asks and does not read is not asked for, however short the answers', async (t) => {
  const [count, length] = [8_000, 4_000];
  const answer = `HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\n\r\n${'x'.repeat(length)}`;
  const server = createTcpServer((socket) => {
    socket.on('error', () => {});
    // Heads have 18 bytes, however they come.
    let heard = 0;
    socket.on('data', (chunk) => {
      const before = Math.floor(heard / 18);
      heard += chunk.length;
      for (let each = before; each < Math.floor(heard / 18); each++) socket.write(answer);
    });
  });
  const {port} = await relay(t, await listen(t, server), []);
  const socket = await dial(port);
  socket.write('GET / HTTP/1.1\r\n\r\n'.repeat(count));
  while (held.bytes === 0) await delay(10);
  // What is kept would go on to grow now.
  for (let turn = 0; turn < 30; turn++) await delay(10);
  t.true(held.peakBytes < 1_000_000, `${held.peakBytes}`);
  let received = 0;
  for await (const chunk of socket) {
    received += chunk.length;
    if (received === count * answer.length) break;
  }
  t.pass();
});
