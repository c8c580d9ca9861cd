import test from 'ava';
import {httpFilterOf} from '../../../layer/incoming/http-filter.ts';
import {MAX_CONDITIONS, parseHttpFilter} from '../../../tunnel/http-filter.ts';

test('headers and paths fit in any case of letters, values of bodies do not', (t) => {
  t.deepEqual(httpFilterOf({header_filter: '^X-User: (?P<who>me)$'}), {
    join: 'any',
    conditions: [{kind: 'header', pattern: {source: '^X-User: (?<who>me)$', flags: 'i'}}],
  });
  t.deepEqual(httpFilterOf({path_filter: '(?s)^/a.b'})?.conditions, [
    {kind: 'path', pattern: {source: '^\\/a.b', flags: 'is'}},
  ]);
  t.deepEqual(httpFilterOf({body_filter: {body: 'json', query: '$.a', matches: 'x'}}), {
    join: 'any',
    conditions: [{kind: 'body', query: '$.a', pattern: {source: 'x', flags: ''}}],
  });
});

test('all_of wants every part, any_of some part', (t) => {
  const parts = [{method: 'get'}, {query: '. == "a: b"'}];
  const conditions = [
    {kind: 'method', method: 'get'},
    {kind: 'jq', program: '. == "a: b"'},
  ] as const;
  t.deepEqual(httpFilterOf({all_of: parts}), {join: 'all', conditions});
  t.deepEqual(httpFilterOf({any_of: parts}), {join: 'any', conditions});
});

test('an empty block has no filter', (t) => {
  t.is(httpFilterOf({}), undefined);
  t.is(httpFilterOf(undefined), undefined);
});

test('what an agent would not take is refused here', (t) => {
  const many = Array.from({length: MAX_CONDITIONS + 1}, () => ({method: 'GET'}));
  const long = [{header: 'a'.repeat(5001)}];
  for (const config of [{any_of: many}, {any_of: long}, {header_filter: '('}]) {
    t.throws(() => httpFilterOf(config), {code: 'MIRRORD_HTTP_FILTER_INVALID'} as object);
  }
});

test('an agent takes a filter only in its exact shape', (t) => {
  const pattern = {source: 'a', flags: 'i'};
  const good = {join: 'all', conditions: [{kind: 'header', pattern}]};
  t.deepEqual(parseHttpFilter({...good, more: 1}), good as never);
  for (const bad of [
    undefined,
    null,
    'all',
    {},
    {join: 'none', conditions: good.conditions},
    {join: 'all', conditions: []},
    {join: 'all', conditions: {length: 1}},
    {join: 'all', conditions: [{kind: 'header'}]},
    {join: 'all', conditions: [{kind: 'header', pattern: {source: 'a', flags: 'g'}}]},
    {join: 'all', conditions: [{kind: 'header', pattern: {source: 'a', flags: 'ii'}}]},
    {join: 'all', conditions: [{kind: 'header', pattern: {source: '', flags: ''}}]},
    {join: 'all', conditions: [{kind: 'body', query: 1, pattern}]},
    {join: 'all', conditions: [{kind: 'all', conditions: []}]},
    {join: 'all', conditions: [{kind: 'jq', program: 'a'.repeat(5001)}]},
    {
      join: 'all',
      conditions: Array.from({length: 5}, () => ({kind: 'jq', program: 'a'.repeat(4001)})),
    },
  ]) {
    t.is(parseHttpFilter(bad), undefined, JSON.stringify(bad)?.slice(0));
  }
});
