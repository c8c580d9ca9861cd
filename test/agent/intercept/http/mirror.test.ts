import {Agent, createServer, request} from 'node:http';
import {connect, createServer as createHttp2Server, type ServerHttp2Stream} from 'node:http2';
import {createServer as createTcpServer} from 'node:net';
import test from 'ava';
import {until} from '../../../helpers/until.ts';
import {listen, relay, subscription, wantsHeader} from './world.ts';

/** A server that answers with its name, and keeps what it was asked. */
function named(name: string) {
  const heard: string[] = [];
  const server = createServer((asked, response) => {
    let body = '';
    asked.on('data', (chunk) => {
      body += chunk;
    });
    asked.on('end', () => {
      heard.push(`${asked.method} ${asked.url} ${body}`);
      response.end(name);
    });
  });
  return {server, heard};
}

function post(agent: Agent, port: number, path: string, body: string | Buffer): Promise<string> {
  return new Promise((resolve, reject) => {
    const asked = request({agent, host: '127.0.0.1', port, path, method: 'POST'});
    asked.on('error', reject);
    asked.on('response', (response) => {
      let text = '';
      response.on('data', (chunk) => {
        text += chunk;
      });
      response.on('end', () => resolve(text));
    });
    asked.end(body);
  });
}

/** Waits until something is so. */
test('the application answers, and everyone who mirrors hears the requests that fit', async (t) => {
  const application = named('application');
  const mine = named('mine');
  const all = named('all');
  const {port} = await relay(t, await listen(t, application.server), [
    subscription(await listen(t, mine.server), {
      mode: 'mirror',
      filter: wantsHeader('^content-length: 1$'),
    }),
    subscription(await listen(t, all.server), {mode: 'mirror'}),
  ]);
  const agent = new Agent({keepAlive: true, maxSockets: 1});
  t.teardown(() => agent.destroy());
  for (const body of ['1', '22', '3']) t.is(await post(agent, port, '/a', body), 'application');
  await until(() => all.heard.length === 3 && mine.heard.length === 2);
  t.deepEqual(application.heard, ['POST /a 1', 'POST /a 22', 'POST /a 3']);
  t.deepEqual(all.heard, application.heard);
  t.deepEqual(mine.heard, ['POST /a 1', 'POST /a 3']);
});

test('a stolen request is mirrored as well', async (t) => {
  const application = named('application');
  const thief = named('thief');
  const mirror = named('mirror');
  const {port} = await relay(t, await listen(t, application.server), [
    subscription(await listen(t, thief.server)),
    subscription(await listen(t, mirror.server), {mode: 'mirror'}),
  ]);
  const agent = new Agent({keepAlive: true});
  t.teardown(() => agent.destroy());
  t.is(await post(agent, port, '/', 'x'), 'thief');
  await until(() => mirror.heard.length === 1);
  t.deepEqual(application.heard, []);
});

test('a program that takes nothing is cut off and told, and the application is not slowed', async (t) => {
  const application = named('application');
  const stuck = createTcpServer({pauseOnConnect: true}, () => {});
  const client = subscription(await listen(t, stuck), {mode: 'mirror'});
  const {port} = await relay(t, await listen(t, application.server), [client]);
  const agent = new Agent({keepAlive: true, maxSockets: 1});
  t.teardown(() => agent.destroy());
  const body = Buffer.alloc(8_000_000, 'x');
  t.is(await post(agent, port, '/large', body), 'application');
  for (let at = 0; at < 1000; at++) await post(agent, port, '/', 'x');
  t.is(application.heard.length, 1001);
  t.deepEqual(client.warnings, ['MIRRORD_HTTP_MIRROR_SLOW']);
});

test('a program that refuses, or dies, costs nothing but its copies', async (t) => {
  const application = named('application');
  const dying = createTcpServer((socket) => socket.resetAndDestroy());
  const {port} = await relay(t, await listen(t, application.server), [
    subscription(1, {mode: 'mirror'}),
    subscription(await listen(t, dying), {mode: 'mirror'}),
  ]);
  const agent = new Agent({keepAlive: true, maxSockets: 1});
  t.teardown(() => agent.destroy());
  for (let at = 0; at < 50; at++) t.is(await post(agent, port, '/', 'x'), 'application');
});

test('streams of HTTP/2 are mirrored, and cut off when they are too much', async (t) => {
  const server = (heard: string[], isStuck: boolean) => {
    const made = createHttp2Server();
    made.on('stream', (stream: ServerHttp2Stream) => {
      stream.on('error', () => {});
      if (isStuck) return;
      let count = 0;
      stream.on('data', (chunk: Buffer) => {
        count += chunk.length;
      });
      stream.on('end', () => {
        heard.push(`${count}`);
        stream.respond({':status': 200});
        stream.end('answer');
      });
    });
    return made;
  };
  const application: string[] = [];
  const mirror: string[] = [];
  const good = subscription(await listen(t, server(mirror, false)), {mode: 'mirror'});
  const stuck = subscription(await listen(t, server([], true)), {mode: 'mirror'});
  const {port} = await relay(t, await listen(t, server(application, false)), [good, stuck]);
  const session = connect(`http://127.0.0.1:${port}`);
  t.teardown(() => session.destroy());
  const send = (size: number) =>
    new Promise((resolve, reject) => {
      const stream = session.request({':method': 'POST', ':path': '/'});
      stream.on('error', reject);
      stream.on('close', resolve);
      stream.resume();
      stream.end(Buffer.alloc(size));
    });
  await send(10);
  await until(() => mirror.length === 1);
  await send(4_000_000);
  t.deepEqual(application, ['10', '4000000']);
  t.is(mirror[0], '10');
  t.deepEqual(stuck.warnings, ['MIRRORD_HTTP_MIRROR_SLOW']);
});
