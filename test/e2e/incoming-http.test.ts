/** HTTP filters on the embedded cluster: requests to `demo/gateway`'s port 80, asked from another pod. */

import test, {type ExecutionContext} from 'ava';
import {finish, type Running, useDemo, waitFor} from '../helpers/e2e.ts';
import {Gateway} from '../helpers/gateway.ts';

const demo = useDemo(test);
const gateway = new Gateway(demo);
const url = 'http://10.244.0.10/asked';

const steal = {MIRRORD_AGENT_TCP_STEAL_TRAFFIC: 'true'};

/** Asks from another pod with curl's arguments; returns the bodies. */
async function ask(...args: readonly string[]): Promise<string> {
  const {status, stdout, stderr} = await gateway.byClient('curl', '-s', '-m', '20', ...args);
  if (status !== 0) throw new Error(`curl: ${status} ${stderr}`);
  return stdout;
}

/** Starts a server in the gateway's place, and waits until its port's requests come. */
async function start(t: ExecutionContext, env: Record<string, string>): Promise<Running> {
  const argv = ['python3', demo.program('incoming.py'), '80', '0.0.0.0', '1'];
  const running = demo.startExec(argv, {env});
  t.teardown(async () => {
    running.child.kill('SIGTERM');
    await running.ended.catch(() => undefined);
  });
  await running.said(/listening\n/);
  await waitFor('the port to be redirected, or captured', () => gateway.isTaken(80));
  return running;
}

const mine = /^local 10\.244\.0\.11 \d+ at 10\.244\.0\.10 80 worker 0$/m;
const theirs = /"pod":"gateway"/;

test.serial(
  'steal: of one connection, the requests that fit come here, the others pass',
  async (t) => {
    const running = await start(t, {...steal, MIRRORD_HTTP_HEADER_FILTER: '^x-user: me$'});
    t.regex(await ask('-H', 'X-User: me', url), mine);
    const passed = await ask('-D', '-', '-H', 'X-User: you', url);
    t.regex(passed, theirs);
    t.regex(passed, /^cache-control: no-cache, no-store, must-revalidate\r$/im);
    const both = await ask(url, '--next', '-s', '-H', 'X-User: me', url, '--next', '-s', url);
    t.regex(both, mine);
    t.is(both.match(new RegExp(theirs, 'g'))?.length, 2);
    t.notRegex(await finish(running), /not available|http_filter/);
    t.regex(await ask('-H', 'X-User: me', url), theirs, 'afterwards the application answers');
  },
);

test.serial(
  'two sessions each get what fits, and the second goes on without the first',
  async (t) => {
    const [first, second] = [
      await start(t, {...steal, MIRRORD_HTTP_HEADER_FILTER: '^x-user: me$'}),
      await start(t, {...steal, MIRRORD_HTTP_HEADER_FILTER: '^x-user: you$'}),
    ];
    const you = ['-H', 'X-User: you', 'http://10.244.0.10/for-you'];
    await waitFor('the second to answer', async () => mine.test(await ask(...you)));
    t.regex(await ask('-H', 'X-User: me', 'http://10.244.0.10/for-me'), mine);
    t.regex(await ask(url), theirs);
    t.notRegex(await finish(first), /can't share|no traffic/);
    t.regex(await ask(...you), mine, 'not one request goes elsewhere');
    t.notRegex(await finish(second), /can't share|no traffic/);
    t.notRegex(first.output.stdout, /for-you/);
    t.notRegex(second.output.stdout, /for-me/);
    t.regex(await ask(...you), theirs);
    t.is(await gateway.rules(), '', 'no rule is left');
  },
);

test.serial('steal: requests over HTTP/1.0 without a filter’s header pass', async (t) => {
  const running = await start(t, {...steal, MIRRORD_HTTP_PATH_FILTER: '^/mine(?!/not)'});
  t.regex(await ask('--http1.0', 'http://10.244.0.10/mine/1'), mine);
  t.regex(await ask('--http1.0', 'http://10.244.0.10/mine/not'), theirs);
  await finish(running);
});

test.serial('mirror: the application answers, and only requests that fit come here', async (t) => {
  const running = await start(t, {MIRRORD_HTTP_METHOD_FILTER: 'post'});
  t.regex(await ask('http://10.244.0.10/first'), theirs);
  t.regex(await ask('-d', 'body', 'http://10.244.0.10/second'), theirs);
  await running.said(/^got POST \/second /m);
  await finish(running);
  t.notRegex(running.output.stdout, /first/);
});

test.serial('other ports than those of the filter are stolen as they are', async (t) => {
  const running = await start(t, {
    ...steal,
    MIRRORD_HTTP_HEADER_FILTER: '^x-user: me$',
    MIRRORD_HTTP_FILTER_PORTS: '8080',
  });
  t.regex(await ask(url), mine);
  await finish(running);
});
