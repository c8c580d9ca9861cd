/** Clients and servers of others, through the relay. */

import {execFile} from 'node:child_process';
import {once} from 'node:events';
import {Agent, createServer, request} from 'node:http';
import {createServer as createHttp2Server, type ServerHttp2Stream} from 'node:http2';
import {promisify} from 'node:util';
import test from 'ava';
import {WebSocket, WebSocketServer} from 'ws';
import {dial, listen, recorder, relay, subscription, wantsHeader} from './world.ts';

const run = promisify(execFile);

/** Answers with its name and the request's body. */
function named(name: string) {
  return createServer((asked, response) => {
    const chunks: Buffer[] = [];
    asked.on('data', (chunk: Buffer) => chunks.push(chunk));
    asked.on('end', () => response.end(`${name} ${asked.url} ${Buffer.concat(chunks)}\n`));
  });
}

test('ws: a WebSocket goes to the program whose filter its request fits', async (t) => {
  const sides = ['application', 'program'].map((name) => {
    const server = createServer();
    new WebSocketServer({server}).on('connection', (socket) => {
      socket.on('message', (data) => socket.send(`${name} ${data}`));
    });
    return server;
  });
  const [application = 0, program = 0] = await Promise.all(sides.map((one) => listen(t, one)));
  const {port} = await relay(t, application, [
    subscription(program, {filter: wantsHeader('^x-user: me$')}),
  ]);
  for (const [user, name] of [
    ['me', 'program'],
    ['you', 'application'],
  ] as const) {
    const socket = new WebSocket(`ws://127.0.0.1:${port}/`, {headers: {'X-User': user}});
    await once(socket, 'open');
    const large = 'x'.repeat(300_000);
    for (const text of ['a', large]) {
      socket.send(text);
      const [answer] = await once(socket, 'message');
      t.is(String(answer), `${name} ${text}`);
    }
    socket.close();
    const [code] = await once(socket, 'close');
    t.is(code, 1005);
  }
});

test('curl: keep-alive, HTTP/1.0, chunked uploads, Expect and h2c are answered by the right side', async (t) => {
  const {port} = await relay(t, await listen(t, named('application')), [
    subscription(await listen(t, named('program')), {filter: wantsHeader('^x-user: me$')}),
  ]);
  const url = `http://127.0.0.1:${port}`;
  const mine = ['-H', 'X-User: me'];
  for (const how of [
    [],
    ['--http1.0'],
    ['-d', 'body'],
    ['-H', 'Transfer-Encoding: chunked', '-d', 'body'],
    ['-H', 'Expect: 100-continue', '-d', 'body'],
  ]) {
    const body = how.includes('body') ? 'body' : '';
    const args = ['-sS', ...how, `${url}/1`, '--next', '-sS', ...how, ...mine, `${url}/2`];
    const {stdout} = await run('curl', args);
    t.is(stdout, `application /1 ${body}\nprogram /2 ${body}\n`);
  }
  const h2 = ['application', 'program'].map((name) => {
    const server = createHttp2Server();
    server.on('stream', (stream: ServerHttp2Stream, headers) => {
      stream.respond({':status': 200});
      stream.end(`${name} ${headers[':path']}\n`);
    });
    return server;
  });
  const [application = 0, program = 0] = await Promise.all(h2.map((one) => listen(t, one)));
  const other = await relay(t, application, [
    subscription(program, {filter: wantsHeader('^x-user: me$')}),
  ]);
  const there = `http://127.0.0.1:${other.port}`;
  // One request each: curl 7.88 can't use such a connection twice, with any server.
  const prior = ['-sS', '--http2-prior-knowledge'];
  t.is((await run('curl', [...prior, `${there}/1`])).stdout, 'application /1\n');
  t.is((await run('curl', [...prior, ...mine, `${there}/2`])).stdout, 'program /2\n');
});

test('of many requests at once, half of them matching, none is lost or answered by the wrong side', async (t) => {
  const {port} = await relay(t, await listen(t, named('application')), [
    subscription(await listen(t, named('program')), {filter: wantsHeader('^x-user: me$')}),
  ]);
  const agent = new Agent({keepAlive: true, maxSockets: 16});
  t.teardown(() => agent.destroy());
  const ask = (at: number): Promise<string> =>
    new Promise((resolve, reject) => {
      const headers = at % 2 === 0 ? {'X-User': 'me'} : {};
      const path = `/${at}`;
      const asked = request({agent, host: '127.0.0.1', port, path, method: 'POST', headers});
      asked.on('error', reject);
      asked.on('response', (response) => {
        let text = '';
        response.on('data', (chunk) => {
          text += chunk;
        });
        response.on('end', () => resolve(text));
      });
      asked.end(`${at}`);
    });
  const answers = await Promise.all(Array.from({length: 2000}, (_, at) => ask(at)));
  const expected = answers.map(
    (_, at) => `${at % 2 === 0 ? 'program' : 'application'} /${at} ${at}\n`,
  );
  t.deepEqual(answers, expected);
});

test('a client that is slow with its request line is passed on as it is', async (t) => {
  const {server, heard} = recorder('HTTP/1.1 408 Request Timeout\r\n\r\n');
  const program = recorder();
  const {port} = await relay(
    t,
    await listen(t, server),
    [subscription(await listen(t, program.server), {filter: wantsHeader('.')})],
    {detectionTimeoutMs: 20},
  );
  const socket = await dial(port);
  socket.write('GET /slow');
  while (heard[0] !== 'GET /slow') await new Promise((resolve) => setTimeout(resolve, 5));
  socket.end(' HTTP/1.1\r\nX-User: me\r\n\r\n');
  const [answer] = await once(socket, 'data');
  t.regex(String(answer), /^HTTP\/1\.1 408/);
  t.deepEqual(heard, ['GET /slow HTTP/1.1\r\nX-User: me\r\n\r\n']);
  t.deepEqual(program.heard, []);
});
