import {inspect} from 'node:util';
import test from 'ava';
import {filesTarget} from './files.ts';
import {type FuzzTarget, fuzz, minimise} from './fuzzer.ts';
import {h2Target} from './h2.ts';
import {netstackTarget} from './netstack.ts';
import {tunnelTarget} from './tunnel.ts';
import {websocketTarget} from './websocket.ts';

/** Runs a few rounds of what `scripts/fuzz` runs for as long as one likes. */
const survives = test.macro(async (t, target: FuzzTarget<never>, rounds: number) => {
  const {finding} = await fuzz(target, {seed: 20_261_122, rounds});
  t.is(finding && inspect(finding, {depth: 5, breakLength: 150}), undefined);
});

test('the netstack takes anything', survives, netstackTarget as FuzzTarget<never>, 300);
test('the tunnel takes anything', survives, tunnelTarget as FuzzTarget<never>, 800);
test('the WebSocket takes anything', survives, websocketTarget as FuzzTarget<never>, 150);
test('what serves files takes anything', survives, filesTarget as FuzzTarget<never>, 300);

test('the relay of HTTP/2 takes anything', survives, h2Target as FuzzTarget<never>, 300);

const picky: FuzzTarget<number> = {
  name: 'picky',
  generate: (random) => Array.from({length: 50}, () => Math.floor(random() * 10)),
  run(steps) {
    if (steps.indexOf(3) >= 0 && steps.lastIndexOf(7) > steps.indexOf(3))
      throw new Error('3, then 7');
  },
};

test('the shortest list of steps that still fails is found', async (t) => {
  t.deepEqual(await minimise(picky, [1, 3, 3, 5, 7, 7, 2]), [3, 7]);
});

test('a finding says from which seed it comes again', async (t) => {
  const {finding} = await fuzz(picky, {seed: 1, rounds: 10});
  t.deepEqual(finding?.steps, [3, 7]);
  const again = await fuzz(picky, {seed: finding?.seed ?? 0, rounds: 1});
  t.deepEqual(again.finding?.steps, [3, 7]);
});
