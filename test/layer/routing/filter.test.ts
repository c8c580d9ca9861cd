import test from 'ava';
import fc from 'fast-check';
import {type Filter, parseDnsFilter, parseOutgoingFilter} from '../../../layer/routing/filter.ts';

const any = {kind: 'any'} as const;
const good: [string, Filter][] = [
  ['tcp://db.local:5432', {protocol: 'tcp', host: {kind: 'name', name: 'db.local'}, port: 5432}],
  ['udp://', {protocol: 'udp', host: any, port: 0}],
  [':53', {protocol: 'any', host: any, port: 53}],
  ['any://My_svc-1', {protocol: 'any', host: {kind: 'name', name: 'my_svc-1'}, port: 0}],
  [
    '10.0.0.0/8:80',
    {protocol: 'any', host: {kind: 'subnet', address: '10.0.0.0', length: 8}, port: 80},
  ],
  ['1.2.3.4:0', {protocol: 'any', host: {kind: 'address', address: '1.2.3.4'}, port: 0}],
  ['0.0.0.0:80', {protocol: 'any', host: any, port: 80}],
  ['[::]:80', {protocol: 'any', host: any, port: 80}],
  ['tcp://[::1]:80', {protocol: 'tcp', host: {kind: 'address', address: '::1'}, port: 80}],
  ['fd00::/64', {protocol: 'any', host: {kind: 'subnet', address: 'fd00::', length: 64}, port: 0}],
  [
    '[fd00::/64]:80',
    {protocol: 'any', host: {kind: 'subnet', address: 'fd00::', length: 64}, port: 80},
  ],
  [
    '[fd00::]/64:80',
    {protocol: 'any', host: {kind: 'subnet', address: 'fd00::', length: 64}, port: 80},
  ],
];

for (const [text, filter] of good) {
  test(`${text} is a filter`, (t) => {
    t.deepEqual(parseOutgoingFilter(text), {value: filter});
  });
}

const bad = [
  '',
  'ftp://a',
  'a:99999',
  'a:',
  'a:b',
  '10.0.0.0/33',
  '1.2.3',
  'a b',
  '[1.2.3.4]:80',
  '[::1',
  'a/8',
  '*.x',
  'http://a/b',
  'a..b',
];
for (const text of bad) {
  test(`${JSON.stringify(text)} is no filter`, (t) => {
    t.truthy(parseOutgoingFilter(text).problem);
  });
}

test('a DNS filter is the same without a protocol', (t) => {
  t.deepEqual(parseDnsFilter('a.b:53').value, {host: {kind: 'name', name: 'a.b'}, port: 53});
  t.truthy(parseDnsFilter('tcp://a').problem);
  t.truthy(parseDnsFilter('').problem);
});

test('any text is a filter or none', (t) => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      const {value, problem} = parseOutgoingFilter(text);
      return (value === undefined) !== (problem === undefined);
    }),
  );
  t.pass();
});
