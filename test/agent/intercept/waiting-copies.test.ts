import {createServer} from 'node:http';
import test from 'ava';
import {httpCounters} from '../../../agent/intercept/http/counters.ts';
import {router} from '../../../agent/intercept/http/shared-router.ts';
import {HTTP_DEFAULTS} from '../../../agent/intercept/http/types.ts';
import {RequestWatch} from '../../../agent/intercept/http/watch/request-watch.ts';
import {waitingCopies} from '../../../agent/intercept/waiting-copies.ts';
import {listen, subscription, wantsHeader} from './http/world.ts';

for (const [kind, source] of Object.entries({
  'a copy': '^x-user: me$',
  'a request that a filter thinks about': '^x-user: (?!you).*$',
})) {
  test.serial(`${kind} is given up and told when others have all the memory`, async (t) => {
    const heard: string[] = [];
    const server = createServer((asked, response) => {
      heard.push(asked.url ?? '');
      response.end();
    });
    const client = subscription(await listen(t, server), {
      mode: 'mirror',
      filter: wantsHeader(source),
    });
    const watched = new RequestWatch({
      subscriptions: () => [client],
      options: HTTP_DEFAULTS,
      router,
      counters: httpCounters,
    });
    const get = (path: string): Buffer =>
      Buffer.from(`GET ${path} HTTP/1.1\r\nHost: here\r\nX-User: me\r\n\r\n`);
    watched.write(get('/before'));
    while (heard.length < 1 || waitingCopies.bytes > 0) await new Promise(setImmediate);
    waitingCopies.change(waitingCopies.capBytes);
    t.teardown(() => waitingCopies.change(-waitingCopies.bytes));
    watched.write(Buffer.concat([get('/1'), get('/2')]));
    while (client.warnings.length === 0) await new Promise(setImmediate);
    t.deepEqual(client.warnings, ['MIRRORD_HTTP_MIRROR_SLOW']);
    watched.end();
    while (waitingCopies.bytes > waitingCopies.capBytes) await new Promise(setImmediate);
    t.is(waitingCopies.bytes, waitingCopies.capBytes);
    t.deepEqual(heard, ['/before']);
  });
}
