import {spawn} from 'node:child_process';
import {readFileSync} from 'node:fs';
import test from 'ava';
import {Nearness} from '../../../layer/files/nearness.ts';
import {goNear} from '../../../layer/native/native.ts';

/** Somebody who writes, and what moving is like. */
function writer(result: () => number) {
  const looks: number[] = [];
  const state = {now: 1000, writes: 0};
  const nearness = new Nearness({
    now: () => state.now,
    goNear: () => {
      looks.push(state.writes);
      return result();
    },
  });
  const write = (count: number, {thread = 7, takesMs = 0.05} = {}): void => {
    for (let index = 0; index < count; index++) {
      state.writes++;
      state.now += takesMs;
      nearness.answered(thread);
    }
  };
  return {looks, state, nearness, write};
}

test('it is looked now and then where the program is, and less often where that is in vain', (t) => {
  let result = 0;
  const {looks, nearness, write} = writer(() => result);
  write(100);
  t.deepEqual(looks, [32, 64, 96]);
  result = 1;
  write(20_000);
  t.deepEqual(looks.slice(3), [128, 192, 320, 576, 1088, 2112, 4160, 8256, 12_352, 16_448]);
  t.deepEqual(nearness.counters, {looks: 13, moves: 10});
  result = 0;
  write(5000);
  t.true(looks.length > 40, 'once near, as often as at first');
});

test('a program that pauses, and threads that take turns, are left alone', (t) => {
  const {looks, write} = writer(() => 0);
  write(1000, {takesMs: 0.4});
  for (let turn = 0; turn < 1000; turn++) write(1, {thread: turn % 2});
  t.is(looks.length, 0);
  write(40, {takesMs: 0.2});
  t.is(looks.length, 1);
});

test('what can be done nothing about is not tried often', (t) => {
  const {looks, write} = writer(() => -22);
  write(4000);
  t.is(looks.length, 6);
});

test('we are where another process is, and may be anywhere afterwards', (t) => {
  const allowed = (): string =>
    /^Cpus_allowed:.*$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[0] ?? '';
  const before = allowed();
  const child = spawn('sleep', ['60']);
  t.teardown(() => child.kill());
  t.true([0, 1].includes(goNear(child.pid ?? 0)));
  t.is(allowed(), before);
  t.true(goNear(0) < 0);
  t.true(goNear(-1) < 0);
  t.is(allowed(), before);
});
