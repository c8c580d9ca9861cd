/** What becomes of connections that pass through an agent which ends. */

import {once} from 'node:events';
import {Agent, createServer, get, type IncomingMessage} from 'node:http';
import {connect as connectHttp2, createServer as createHttp2Server} from 'node:http2';
import {createServer as createTcpServer, type Socket} from 'node:net';
import test from 'ava';
import {
  dial,
  listen,
  NOBODY,
  readAll,
  readUntil,
  relay,
  subscription,
  wantsHeader,
} from './world.ts';

const mine = [subscription(NOBODY, {filter: wantsHeader('^x-user: me$')})];

test('the next answer says that it is the last one, and the connection ends after it', async (t) => {
  let connections = 0;
  const server = createServer((_, response) => response.end('application'));
  server.on('connection', () => connections++);
  const {port, lettingGo, relays} = await relay(t, await listen(t, server), mine);
  const client = await dial(port);
  client.write('GET /1 HTTP/1.1\r\nHost: here\r\n\r\n');
  const first = await readUntil(client, /application$/);
  lettingGo.say();
  client.write('GET /2 HTTP/1.1\r\nHost: here\r\n\r\n');
  const last = await readAll(client);
  client.end();
  t.regex(first, /^HTTP\/1\.1 200 OK\r\n(?!.*Connection: close)/s);
  t.regex(last, /^HTTP\/1\.1 200 OK\r\n.*Connection: close\r\n.*application$/s);
  t.notRegex(last, /keep-alive\r\n/);
  t.is(connections, 1);
  await Promise.all(relays);
});

test('requests that are there already are answered before that', async (t) => {
  const server = createServer((asked, response) => response.end(`<${asked.url}>`));
  const {port, lettingGo} = await relay(t, await listen(t, server), mine);
  lettingGo.say();
  const client = await dial(port);
  client.write('GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n');
  const answers = await readAll(client);
  client.end();
  t.deepEqual(answers.match(/<.*?>|Connection: close/g), ['</1>', 'Connection: close', '</2>']);
});

test('an answer that is on its way comes whole, to who reads slowly too', async (t) => {
  const body = Buffer.alloc(24 << 20, 'abcdefghij');
  const server = createServer((_, response) => response.end(body));
  const {port, lettingGo, relays} = await relay(t, await listen(t, server), mine);
  const client = await dial(port);
  client.write('GET / HTTP/1.1\r\nHost: here\r\n\r\n');
  await readUntil(client, /\r\n\r\n/);
  lettingGo.say();
  client.write('GET / HTTP/1.1\r\nHost: here\r\n\r\n');
  // Longer than the way from one end to the other holds, so that what is last is written when nothing was read.
  const rest = await readAll(client);
  client.end();
  const at = rest.indexOf('HTTP/1.1 200');
  t.true(rest.endsWith(body.toString('latin1')));
  t.regex(rest.slice(at, at + 300), /Connection: close/);
  await Promise.all(relays);
});

test('what was upgraded goes on, until it ends by itself', async (t) => {
  const server = createServer();
  server.on('upgrade', (_, socket) => {
    socket.write(
      'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n',
    );
    socket.pipe(socket);
  });
  const {port, lettingGo, relays} = await relay(t, await listen(t, server), mine);
  const client = await dial(port);
  const upgrade = 'GET / HTTP/1.1\r\nHost: here\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n';
  client.write(upgrade);
  await readUntil(client, /\r\n\r\n$/);
  lettingGo.say();
  client.write('one ');
  await readUntil(client, /one $/);
  client.end('two');
  t.is(await readAll(client), 'two');
  // One that is upgraded now.
  const late = await dial(port);
  late.write(upgrade);
  t.regex(await readUntil(late, /\r\n\r\n$/), /Connection: Upgrade/);
  late.end('three');
  t.is(await readAll(late), 'three');
  await Promise.all(relays);
});

test('an interim response is no last one', async (t) => {
  const server = createServer((_, response) => {
    response.writeEarlyHints({link: '</style.css>; rel=preload'});
    response.end('application');
  });
  const {port, lettingGo} = await relay(t, await listen(t, server), mine);
  lettingGo.say();
  const client = await dial(port);
  client.write('GET / HTTP/1.1\r\nHost: here\r\n\r\n');
  const answer = await readAll(client);
  client.end();
  t.regex(answer, /^HTTP\/1\.1 103 Early Hints\r\nLink: [^\r]*\r\n\r\nHTTP\/1\.1 200 OK\r\n/);
  t.regex(answer, /Connection: close\r\n.*application$/s);
});

test('other options of the connection stay', async (t) => {
  const server = createTcpServer((socket: Socket) => {
    socket.on('data', () => {
      socket.write(
        'HTTP/1.1 200 OK\r\nConnection: keep-alive, x-hop\r\nX-Hop: 1\r\nContent-Length: 2\r\n\r\nok',
      );
    });
  });
  const {port, lettingGo} = await relay(t, await listen(t, server), mine, {
    overrideCacheControl: false,
  });
  lettingGo.say();
  const client = await dial(port);
  client.write('GET / HTTP/1.1\r\nHost: here\r\n\r\n');
  t.is(
    await readAll(client),
    'HTTP/1.1 200 OK\r\nConnection: close, x-hop\r\nX-Hop: 1\r\nContent-Length: 2\r\n\r\nok',
  );
  client.end();
});

test('clients that keep connections lose no request', async (t) => {
  const server = createServer((_, response) => response.end('ok'));
  const {port, lettingGo, relays} = await relay(t, await listen(t, server), mine);
  const agent = new Agent({keepAlive: true, maxSockets: 8});
  t.teardown(() => agent.destroy());
  const ask = async (): Promise<void> => {
    const {promise, resolve, reject} = Promise.withResolvers<IncomingMessage>();
    get({agent, port, host: '127.0.0.1'}, resolve).on('error', reject);
    await (await promise).resume().toArray();
  };
  let asked = 0;
  const lane = async (): Promise<void> => {
    for (let at = 0; at < 200; at++, asked++) {
      if (asked === 400) lettingGo.say();
      await ask();
    }
  };
  await t.notThrowsAsync(Promise.all(Array.from({length: 8}, lane)));
  t.is(asked, 1600);
  await Promise.all(relays);
});

test('HTTP/2: streams are finished, and then it ends', async (t) => {
  const server = createHttp2Server();
  const streams: (() => void)[] = [];
  server.on('stream', (stream) => {
    stream.respond({':status': 200});
    streams.push(() => stream.end('long'));
  });
  const {port, lettingGo, relays} = await relay(t, await listen(t, server), mine);
  const session = connectHttp2(`http://127.0.0.1:${port}`);
  const long = session.request({':path': '/long'}).setEncoding('utf8').toArray();
  while (streams.length === 0) await once(server, 'stream');
  lettingGo.say();
  await once(session, 'goaway');
  for (const finish of streams) finish();
  t.is((await long).join(''), 'long');
  await once(session, 'close');
  await Promise.all(relays);
});
