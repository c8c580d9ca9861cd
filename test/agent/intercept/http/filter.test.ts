import {Agent, createServer, request} from 'node:http';
import test, {type ExecutionContext} from 'ava';
import fc from 'fast-check';
import {httpCounters} from '../../../../agent/intercept/http/counters.ts';
import {pathsOf} from '../../../../agent/intercept/http/filter/matcher.ts';
import {compileLinear} from '../../../../agent/intercept/http/filter/pattern.ts';
import type {HttpOptions} from '../../../../agent/intercept/http/types.ts';
import type {HttpFilter} from '../../../../tunnel/http-filter.ts';
import {listen, relay, subscription, wants} from './world.ts';

function named(name: string) {
  return createServer((asked, response) => {
    asked.resume();
    asked.on('end', () => response.end(name));
  });
}

/** A relay with one filter; what it returns says who answers a request. */
async function filtered(t: ExecutionContext, filter: HttpFilter, options?: Partial<HttpOptions>) {
  const client = subscription(await listen(t, named('program')), {filter});
  const {port} = await relay(t, await listen(t, named('application')), [client], options);
  const agent = new Agent({keepAlive: true});
  t.teardown(() => agent.destroy());
  const who = ({path = '/', method = 'POST', headers = {}, body = ''} = {}): Promise<string> =>
    new Promise((resolve, reject) => {
      const asked = request({agent, host: '127.0.0.1', port, path, method, headers});
      asked.on('error', reject);
      asked.on('response', (response) => {
        response.setEncoding('utf8');
        let text = '';
        response.on('data', (chunk) => {
          text += chunk;
        });
        response.on('end', () => resolve(text));
      });
      asked.end(body);
    });
  return {who, client};
}

const pattern = (source: string, flags = 'i') => ({source, flags});

test('a header fits as "Name: value", each line by itself', async (t) => {
  const {who} = await filtered(t, wants({kind: 'header', pattern: pattern('^x-user: me$')}));
  t.is(await who({headers: {'X-User': 'me'}}), 'program');
  t.is(await who({headers: {'X-User': ['you', 'me']}}), 'program');
  t.is(await who({headers: {'X-User': 'me too'}}), 'application');
  t.is(await who(), 'application');
});

test('a pattern with look-around fits like any other', async (t) => {
  const filter = wants({kind: 'header', pattern: pattern('^User-Agent: (?!kube-probe)')});
  const {who} = await filtered(t, filter, {jqTimeLimitMs: 10_000});
  t.is(await who({headers: {'User-Agent': 'curl/8'}}), 'program');
  t.is(await who({headers: {'User-Agent': 'kube-probe/1.31'}}), 'application');
});

test('a path fits alone, or with its query', async (t) => {
  const {who} = await filtered(
    t,
    wants({kind: 'path', pattern: pattern('^/a$')}, {kind: 'path', pattern: pattern('user=me')}),
  );
  t.is(await who({path: '/a?x=1'}), 'program');
  t.is(await who({path: '/b?user=me'}), 'program');
  t.is(await who({path: '/b?user=you'}), 'application');
  t.deepEqual(pathsOf('http://host:80/a?b'), ['/a', '/a?b']);
  t.deepEqual(pathsOf('*'), ['*']);
});

test('methods fit in any case of letters; all conditions, or any of them', async (t) => {
  const conditions = [
    {kind: 'method', method: 'post'},
    {kind: 'header', pattern: pattern('^x-user: me$')},
  ] as const;
  const all = await filtered(t, {join: 'all', conditions});
  t.is(await all.who({headers: {'X-User': 'me'}}), 'program');
  t.is(await all.who(), 'application');
  t.is(await all.who({method: 'PUT', headers: {'X-User': 'me'}}), 'application');
  const any = await filtered(t, {join: 'any', conditions});
  t.is(await any.who(), 'program');
  t.is(await any.who({method: 'PUT', headers: {'X-User': 'me'}}), 'program');
  t.is(await any.who({method: 'PUT'}), 'application');
});

test('a body fits by the values that a JSONPath finds in it', async (t) => {
  const condition = {kind: 'body', query: '$.users[?@.id > 1].name', pattern: pattern('^Me$', '')};
  const {who} = await filtered(t, wants(condition as never), {jqTimeLimitMs: 10_000});
  const body = (name: string, id: number) => JSON.stringify({users: [{id, name}]});
  t.is(await who({body: body('Me', 2)}), 'program');
  t.is(await who({body: body('me', 2)}), 'application');
  t.is(await who({body: body('Me', 1)}), 'application');
  t.is(await who({body: 'no JSON'}), 'application');
  t.is(await who({body: ''}), 'application');
  const chunked = {'Transfer-Encoding': 'chunked'};
  t.is(await who({body: body('Me', 2), headers: chunked}), 'program');
  const large = JSON.stringify({users: [{id: 2, name: 'Me'}], padding: 'x'.repeat(70_000)});
  t.is(await who({body: large}), 'application');
});

test('values of a body that are no text are compared as JSON', async (t) => {
  const condition = {kind: 'body', query: '$.a', pattern: pattern('^\\{"b":\\[1,null\\]\\}$', '')};
  const {who} = await filtered(t, wants(condition as never), {jqTimeLimitMs: 10_000});
  t.is(await who({body: '{"a": {"b": [1, null]}}'}), 'program');
});

test('a body that does not come in time does not fit, and reaches the application', async (t) => {
  const condition = {kind: 'body', query: '$.a', pattern: pattern('.', '')};
  const client = subscription(await listen(t, named('program')), {
    filter: wants(condition as never),
  });
  const {port} = await relay(t, await listen(t, named('application')), [client], {
    bodyTimeoutMs: 30,
  });
  const text = await new Promise<string>((resolve, reject) => {
    const asked = request({host: '127.0.0.1', port, method: 'POST', agent: false});
    asked.on('error', reject);
    asked.setHeader('Content-Length', 9);
    asked.write('{"a"');
    const before = httpCounters.unreadBodies;
    // The filter has given up: now the rest may come.
    const wait = (): void => {
      if (httpCounters.unreadBodies === before) setTimeout(wait, 5);
      else asked.end(': 1} ');
    };
    wait();
    asked.on('response', (response) => response.on('data', (chunk) => resolve(String(chunk))));
  });
  t.is(text, 'application');
});

test('a jq program is asked about each header', async (t) => {
  const program = 'def user: ascii_downcase | startswith("x-user: me"); user # mine';
  const {who} = await filtered(t, wants({kind: 'jq', program}), {jqTimeLimitMs: 10_000});
  t.is(await who({headers: {'X-User': 'ME'}}), 'program');
  t.is(await who({headers: {'X-User': 'you'}}), 'application');
});

test('a filter that can’t be used fits nothing, and the person hears why, once', async (t) => {
  for (const condition of [
    {kind: 'jq', program: 'foo('},
    {kind: 'body', query: '$[', pattern: pattern('.')},
  ]) {
    const {who, client} = await filtered(t, wants(condition as never), {jqTimeLimitMs: 10_000});
    t.is(await who({body: '{}'}), 'application');
    t.is(await who({body: '{}'}), 'application');
    t.deepEqual(client.warnings, ['MIRRORD_HTTP_FILTER_INVALID']);
  }
});

test('a pathological pattern, path or program harms only those who use it', async (t) => {
  const evil = 'a'.repeat(60);
  const slow = [
    {kind: 'header', pattern: pattern('^x-user: (a+)+(?!b)$')},
    {kind: 'jq', program: 'def f: f; f'},
  ];
  for (const condition of slow) {
    const {who, client} = await filtered(t, wants(condition as never), {jqTimeLimitMs: 50});
    const other = await filtered(t, wants({kind: 'header', pattern: pattern('^x-user: me$')}));
    const stuck = Array.from({length: 5}, () => who({headers: {'X-User': `${evil}!`}}));
    t.is(await other.who({headers: {'X-User': 'me'}}), 'program');
    t.deepEqual(new Set(await Promise.all(stuck)), new Set(['application']));
    t.deepEqual(client.warnings, ['MIRRORD_HTTP_FILTER_LATE']);
  }
});

test('patterns without look-around never backtrack', (t) => {
  const fits = compileLinear(pattern('^(a|a)*(a*)*b$'));
  t.false(fits?.('a'.repeat(50_000)));
  t.is(compileLinear(pattern('a(?=b)')), undefined);
  t.is(compileLinear(pattern('(a)\\1')), undefined);
});

test('patterns say the same as V8, whatever they begin with', (t) => {
  const piece = fc.constantFrom(
    ...[
      'a',
      'B',
      'x-',
      ': ',
      '^',
      '$',
      '.',
      '*',
      '+',
      '?',
      '{0}',
      '{2}',
      '|',
      '(',
      ')',
      '[ab]',
      '\\d',
      '\\:',
      '=',
      '1',
    ],
  );
  const soup = fc.array(piece, {maxLength: 7}).map((pieces) => pieces.join(''));
  const text = fc
    .array(fc.constantFrom('a', 'b', 'A', 'B', 'x-', ': ', '=', '1', '\n'), {maxLength: 8})
    .map((pieces) => pieces.join(''));
  let compared = 0;
  fc.assert(
    fc.property(
      soup,
      fc.constantFrom('', 'i'),
      fc.array(text, {minLength: 5}),
      (source, flags, texts) => {
        const linear = compileLinear({source, flags});
        let expected: RegExp;
        try {
          expected = new RegExp(source, flags);
        } catch {
          return true;
        }
        if (linear === undefined) return true;
        compared++;
        return texts.every((each) => linear(each) === expected.test(each));
      },
    ),
    {numRuns: 3_000},
  );
  t.true(compared > 500);
});
