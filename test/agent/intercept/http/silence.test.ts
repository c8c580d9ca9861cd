/** A client that keeps a connection and asks nothing, while the agent waits to go. Time is the test's own. */

import {createServer} from 'node:http';
import {mock} from 'node:test';
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

test('a connection without a request is let go after 75 s', async (t) => {
  const server = createServer({keepAliveTimeout: 0}, (_, response) => response.end('application'));
  const mine = [subscription(NOBODY, {filter: wantsHeader('^x-user: me$')})];
  const {port, lettingGo, relays} = await relay(t, await listen(t, server), mine);
  const client = await dial(port);
  client.write('GET / HTTP/1.1\r\nHost: here\r\n\r\n');
  await readUntil(client, /application$/);

  const {now} = performance;
  mock.timers.enable({apis: ['setTimeout']});
  t.teardown(() => {
    mock.timers.reset();
    performance.now = now;
  });
  let passedMs = 0;
  performance.now = () => passedMs;
  const pass = (ms: number): void => {
    passedMs += ms;
    mock.timers.tick(ms);
  };
  lettingGo.say();
  pass(74_000);
  await new Promise(setImmediate);
  t.is(relays.size, 1, 'not before');
  pass(1_001);
  mock.timers.reset();
  t.is(await readAll(client), '');
  client.end();
  await Promise.all(relays);
});
