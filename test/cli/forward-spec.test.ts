import test from 'ava';
import {parseLocalForwards, parseReverseForwards} from '../../cli/forward-spec.ts';
import {candidates} from '../../layer/forward/pod-names.ts';

test('-L: a port here, a host and a port there; the port here may be left out', (t) => {
  const forward = (localPort: number, host: string, port: number) => ({localPort, host, port});
  t.deepEqual(parseLocalForwards('8080:orders:80'), [forward(8080, 'orders', 80)]);
  t.deepEqual(parseLocalForwards('db.shop.svc:5432'), [forward(5432, 'db.shop.svc', 5432)]);
  t.deepEqual(parseLocalForwards('1:10.0.0.7:2'), [forward(1, '10.0.0.7', 2)]);
  t.deepEqual(parseLocalForwards('1:[fd00::7]:2'), [forward(1, 'fd00::7', 2)]);
  t.deepEqual(parseLocalForwards('2:b:2,c:3', [forward(1, 'a', 1)]), [
    forward(1, 'a', 1),
    forward(2, 'b', 2),
    forward(3, 'c', 3),
  ]);
});

test('-R: a port there and one here, or one number for both', (t) => {
  t.deepEqual(parseReverseForwards('80:3000,443'), [
    {port: 80, localPort: 3000},
    {port: 443, localPort: 443},
  ]);
});

test('what makes no sense is refused, with what would', (t) => {
  for (const text of [
    '80',
    '80:80',
    ':orders:80',
    'orders',
    'a:b:c',
    '[fd00:80',
    '[orders]:80',
    '',
  ]) {
    t.throws(() => parseLocalForwards(text), {message: /is not \[LOCAL_PORT:\]HOST:PORT/}, text);
  }
  t.throws(() => parseLocalForwards('0:orders:80'), {message: /0 is no port/});
  t.throws(() => parseLocalForwards('orders:65536'), {message: /65536 is no port/});
  t.throws(() => parseLocalForwards('1:a:2,1:b:3'), {message: /1:b:3: port 1 is forwarded twice/});
  for (const text of ['x', '80:', '80:orders', '']) {
    t.throws(() => parseReverseForwards(text), {message: /REMOTE_PORT/}, text);
  }
  t.throws(() => parseReverseForwards('80:1,80:2'), {message: /port 80 is forwarded twice/});
});

test('a name is completed as the pod’s resolver does', (t) => {
  const conf =
    'search shop.svc.cluster.local svc.cluster.local\nnameserver 10.0.0.1\noptions ndots:2\n';
  t.deepEqual(candidates('orders', conf), [
    'orders.shop.svc.cluster.local',
    'orders.svc.cluster.local',
    'orders',
  ]);
  t.is(candidates('a.b.c', conf)[0], 'a.b.c');
  t.deepEqual(candidates('orders.', conf), ['orders']);
  t.is(candidates('a.b', 'search x')[0], 'a.b', 'one dot suffices by default');
});
