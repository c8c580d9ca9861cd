import test, {type ExecutionContext} from 'ava';
import fc from 'fast-check';
import {type LinkPlan, simulateLink} from '../../helpers/back-to-back.ts';
import {holds} from '../../helpers/tunnel.ts';

const none = fc.constant(0);
const chance = (max: number): fc.Arbitrary<number> => fc.double({min: 0, max, noNaN: true});

const end = {
  send: fc.oneof(fc.nat(3), fc.nat(3_000), fc.nat(60_000)),
  chunk: fc.integer({min: 1, max: 9_000}),
  credit: fc.integer({min: 4_000, max: 200_000}),
  readMs: fc.nat(50),
};
const anyEnd = fc.record(end);

const link = {
  seed: fc.integer(),
  version: fc.constantFrom(4, 6),
  mtu: fc.constantFrom(1280, 1500, 9000, 65_520),
  gso: fc.boolean(),
  loss: none,
  duplicate: none,
  reorder: none,
  corrupt: none,
  full: none,
  delay: fc.constantFrom(0, 1, 40),
  client: anyEnd,
  server: anyEnd,
};

/**
 * All bytes arrive at both ends, whatever the plan; a failure prints plan and seed. Returns in how many
 * plans the client's numbers went through 2^32.
 */
function arrives(t: ExecutionContext, plans: fc.Arbitrary<LinkPlan>, numRuns: number): number {
  let wraps = 0;
  const property = fc.property(plans, (plan) => {
    const isns: number[] = [];
    const failure = simulateLink(plan, (isn) => isns.push(isn));
    if (failure !== undefined) throw new Error(failure);
    wraps += (isns[0] ?? 0) + plan.client.send >= 2 ** 32 ? 1 : 0;
  });
  holds(t, property, {numRuns, seed: 20_261_122});
  return wraps;
}

const record = (fields: object): fc.Arbitrary<LinkPlan> =>
  fc.record({...link, ...fields}) as fc.Arbitrary<LinkPlan>;

test('two stacks over a perfect link: bytes out are bytes in', (t) => {
  arrives(t, record({}), 100);
});

test('two stacks over a link that loses packets: bytes out are bytes in', (t) => {
  arrives(t, record({loss: chance(0.15)}), 100);
});

test('two stacks over a link that repeats and reorders packets: bytes out are bytes in', (t) => {
  arrives(t, record({duplicate: chance(0.4), reorder: chance(0.6)}), 100);
});

test('two stacks over a link that damages packets: bytes out are bytes in', (t) => {
  arrives(t, record({corrupt: chance(0.15)}), 100);
});

test('two stacks with devices that are full at times: bytes out are bytes in', (t) => {
  arrives(t, record({full: chance(0.8)}), 60);
});

test('two stacks with tiny windows: bytes out are bytes in', (t) => {
  const tiny = fc.record({
    ...end,
    send: fc.nat(3_000),
    // Less than 128 is none, where windows are scaled.
    credit: fc.integer({min: 128, max: 600}),
    readMs: fc.nat(5),
  });
  arrives(t, record({client: tiny, server: tiny, loss: chance(0.05)}), 60);
});

test('two stacks whose numbers wrap at 2^32: bytes out are bytes in', (t) => {
  const wrapping = fc.record({
    ...end,
    send: fc.integer({min: 20_000, max: 60_000}),
    belowWrap: fc.nat(19_000),
  });
  const wraps = arrives(t, record({client: wrapping, server: wrapping, loss: chance(0.1)}), 80);
  t.is(wraps, 80);
});

test('two stacks over the worst of links: bytes out are bytes in', (t) => {
  const worst = {loss: chance(0.1), duplicate: chance(0.3), reorder: chance(0.5)};
  arrives(t, record({...worst, corrupt: chance(0.05), full: chance(0.5)}), 150);
});
