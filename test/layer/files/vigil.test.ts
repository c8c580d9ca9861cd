import test from 'ava';
import {Vigil} from '../../../layer/files/vigil.ts';
import {stayAwake} from '../../../layer/native/native.ts';

/** A program that asks again a while after each answer, and whoever answers it; how long that one stays awake, µs. */
function pair() {
  const state = {now: 1000, awake: 0};
  const vigil = new Vigil({
    now: () => state.now,
    stayAwake: (microseconds) => {
      state.awake = microseconds;
    },
  });
  const ask = (count: number, answerMs: number, pauseMs: number): void => {
    for (let index = 0; index < count; index++) {
      state.now += pauseMs;
      vigil.began();
      state.now += answerMs;
      vigil.ended();
    }
  };
  return {state, vigil, ask};
}

test('who is answered at once, and asks at once, is waited for awake', (t) => {
  const {state, vigil, ask} = pair();
  ask(8, 0.2, 0.02);
  t.is(state.awake, 100);
  vigil.began();
  t.is(state.awake, 500);
});

test('nobody stays awake before it is known that it is worth it', (t) => {
  const {state, vigil, ask} = pair();
  ask(5, 0.2, 0.02);
  t.is(state.awake, 0);
  vigil.began();
  t.is(state.awake, 0);
});

test('where answers take long, only the program is waited for awake', (t) => {
  const {state, vigil, ask} = pair();
  ask(20, 0.2, 0.02);
  ask(8, 20, 0.02);
  t.is(state.awake, 100);
  vigil.began();
  t.is(state.awake, 0);
});

test('a program that asks now and then is not waited for awake', (t) => {
  const {state, vigil, ask} = pair();
  ask(20, 0.2, 0.02);
  ask(8, 0.2, 5);
  t.is(state.awake, 0);
  vigil.began();
  t.is(state.awake, 500, 'its answer is');
});

test('one that is late among many changes nothing', (t) => {
  const {state, ask} = pair();
  ask(20, 0.2, 0.02);
  ask(1, 7, 7);
  ask(1, 0.2, 0.02);
  t.is(state.awake, 100);
});

test('where somebody always waits, nobody stays awake for it', (t) => {
  const {state, vigil, ask} = pair();
  ask(8, 0.2, 0.02);
  vigil.began();
  state.now += 0.3;
  vigil.began();
  t.is(state.awake, 500);
  state.now += 0.3;
  vigil.ended();
  vigil.began();
  t.is(state.awake, 0);
});

test('a loop that stays awake does what it did, and ends', async (t) => {
  stayAwake(1000);
  await new Promise((resolve) => {
    setTimeout(resolve, 2);
  });
  stayAwake(1000);
  stayAwake(0);
  t.throws(() => stayAwake(1001), {code: 'EINVAL'});
  t.throws(() => stayAwake(-1), {code: 'EINVAL'});
});
