import test from 'ava';
import {nearest} from '../../../cli/config/suggest.ts';
import {parseTarget, type Target, targetObject} from '../../../cli/config/target.ts';

const good: [string | object, Target][] = [
  ['targetless', {kind: 'targetless'}],
  ['pod/a', {kind: 'pod', name: 'a'}],
  ['deploy/a/container/c', {kind: 'deployment', name: 'a', container: 'c'}],
  ['cronjob/a', {kind: 'cronjob', name: 'a'}],
  ['label/a=b,c=', {kind: 'label', labels: {a: 'b', c: ''}}],
  ['label/a=b/container/c', {kind: 'label', labels: {a: 'b'}, container: 'c'}],
  ['demo/gateway', {kind: 'demo', name: 'gateway'}],
  ['process/42', {kind: 'process', pid: 42}],
  [
    {stateful_set: 'a', container: 'c'},
    {kind: 'statefulset', name: 'a', container: 'c'},
  ],
  [{labels: {a: 'b'}}, {kind: 'label', labels: {a: 'b'}}],
];

for (const [text, target] of good) {
  test(`${JSON.stringify(text)} is a target`, (t) => {
    t.deepEqual(parseTarget(text), target);
    if (target.kind === 'demo' || target.kind === 'process') return;
    t.deepEqual(parseTarget(targetObject(target)), target);
  });
}

for (const text of [
  '',
  'a',
  'pod/',
  'foo/a',
  'pod/a/b',
  'pod/a/container/',
  'pod/a/container/b/c',
  'label/a',
  'process/x',
  'process/0',
  'demo',
  'demo/',
  'demo/a/b',
  'demo/a/container/c',
  '__proto__/a',
]) {
  test(`${JSON.stringify(text)} is no target`, (t) => {
    t.throws(() => parseTarget(text), {code: 'MIRRORD_TARGET_INVALID'});
  });
}

test('the nearest word is the one with the fewest mistakes, if they are few', (t) => {
  const known = ['network', 'fs', 'env', 'incoming', 'outgoing', 'ignore_ports'];
  t.is(nearest('netwrok', known), 'network');
  t.is(nearest('outgoin', known), 'outgoing');
  t.is(nearest('ignore-ports', known), 'ignore_ports');
  t.is(nearest('FS', known), 'fs');
  t.is(nearest('kubernetes', known), undefined);
  t.is(nearest('n'.repeat(1e6), known), undefined);
});
