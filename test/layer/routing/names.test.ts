import test from 'ava';
import {Names, parseHosts} from '../../../layer/routing/names.ts';

const domains = ['default.svc.cluster.local'];

test('an address has all names that led to it', (t) => {
  const names = new Names();
  names.learn([{address: '10.0.0.1', names: ['shop', 'gateway']}], 'agent');
  names.learn([{address: '10.0.0.1', names: ['orders']}], 'agent');
  t.deepEqual([...names.of('10.0.0.1')], ['shop', 'gateway', 'orders']);
  t.deepEqual([...names.of('10.0.0.2')], []);
});

test('the address learned longest ago makes room', (t) => {
  const names = new Names();
  const learn = (index: number): void =>
    names.learn([{address: `a${index}`, names: ['x']}], 'agent');
  for (let i = 0; i < 16_384; i++) learn(i);
  learn(0);
  learn(16_384);
  t.deepEqual([...names.of('a0')], ['x']);
  t.deepEqual([...names.of('a1')], []);
  t.is(names.counters.forgotten, 1);
});

test('an address has a limited number of names, the last ones', (t) => {
  const names = new Names();
  for (let i = 0; i < 100; i++) names.learn([{address: 'a', names: [`n${i}`]}], 'agent');
  const known = [...names.of('a')];
  t.is(known.length, 64);
  t.is(known.at(-1), 'n99');
});

test('this machine looks for the name that was asked for, unless it is the pod’s alone', (t) => {
  const names = new Names();
  names.learn([{address: '10.0.0.1', names: ['api.example.com', 'lb.example.net']}], 'agent');
  names.learn([{address: '10.0.0.1', names: ['x.default.svc.cluster.local']}], 'agent');
  t.is(names.outsideName('10.0.0.1', domains), 'api.example.com');
  names.learn([{address: '10.0.0.2', names: ['x.default.svc.cluster.local']}], 'agent');
  t.is(names.outsideName('10.0.0.2', domains), undefined);
  names.learn([{address: '10.0.0.3', names: ['api.example.com']}], 'agent');
  names.learn([{address: '10.0.0.3', names: ['api.example.com']}], 'host');
  t.is(names.outsideName('10.0.0.3', domains), undefined, 'an address that this machine knows');
});

test('new names of loopback are told, known ones are not', (t) => {
  const names = new Names();
  let told = 0;
  names.onLoopback = () => told++;
  names.learn([{address: '10.0.0.1', names: ['db']}], 'host');
  t.is(told, 0);
  names.learn([{address: '127.0.0.1', names: ['db']}], 'host');
  names.learn([{address: '127.0.0.1', names: ['db']}], 'host');
  t.is(told, 1);
  names.learn([{address: '::1', names: ['db']}], 'host');
  t.is(told, 2);
});

test('a hosts file names addresses', (t) => {
  t.deepEqual(parseHosts('# x\n127.0.0.1 localhost LH. # y\n\nFD00::1\ta b\nalone\n'), [
    {address: '127.0.0.1', names: ['localhost', 'lh']},
    {address: 'fd00::1', names: ['a', 'b']},
  ]);
});
