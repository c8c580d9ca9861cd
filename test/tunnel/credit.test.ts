import assert from 'node:assert/strict';
import test from 'ava';
import fc from 'fast-check';
import {ReceiveCredit, WindowBudget} from '../../tunnel/credit.ts';
import {ProtocolError} from '../../tunnel/errors.ts';
import {INITIAL_WINDOW_BYTES, MAX_WINDOW_BYTES} from '../../tunnel/limits.ts';
import {Ear, feed, holds, NONE, Pair} from '../helpers/tunnel.ts';

const KIB = 1024;
const start = {windowBytes: 256 * KIB, limit: 256 * KIB, now: 0};

/** Receives and consumes up to the offset. */
function take(credit: ReceiveCredit, offset: number): void {
  credit.receive(offset - credit.received);
  credit.consume(offset);
}

test('credit is due when half of the window is consumed, and then makes it whole', (t) => {
  const credit = new ReceiveCredit(new WindowBudget(), start);
  take(credit, 128 * KIB - 1);
  t.false(credit.isDue);
  take(credit, 128 * KIB);
  t.true(credit.isDue);
  t.is(credit.grant(1000, 10), 384 * KIB);
  t.false(credit.isDue);
});

test('received bytes earn no credit before they are consumed', (t) => {
  const credit = new ReceiveCredit(new WindowBudget(), start);
  credit.receive(256 * KIB);
  t.false(credit.isDue);
  t.throws(() => credit.receive(1), {instanceOf: ProtocolError});
  t.throws(() => credit.consume(256 * KIB + 1), {instanceOf: RangeError});
});

test('a window that is used up within two round trips doubles, to 8 MiB at most', (t) => {
  const credit = new ReceiveCredit(new WindowBudget(), start);
  let now = 0;
  for (let round = 0; round < 10; round++) {
    take(credit, credit.limit);
    now += 100;
    credit.grant(now, 60);
  }
  t.is(credit.windowBytes, MAX_WINDOW_BYTES);
});

test('a window that lasts longer than two round trips stays', (t) => {
  const credit = new ReceiveCredit(new WindowBudget(), start);
  take(credit, credit.limit);
  credit.grant(121, 60);
  t.is(credit.windowBytes, INITIAL_WINDOW_BYTES);
});

test('above the budget windows do not grow, and large ones shrink with the next grant', (t) => {
  const budget = new WindowBudget(512 * KIB);
  const credit = new ReceiveCredit(budget, start);
  take(credit, credit.limit);
  credit.grant(1, 60);
  t.is(credit.windowBytes, 512 * KIB);
  const other = new ReceiveCredit(budget, start);
  t.true(budget.isExceeded);
  const before = credit.limit;
  take(credit, credit.limit);
  t.is(credit.grant(2, 60), before + 256 * KIB);
  take(other, other.limit);
  other.grant(3, 60);
  t.is(other.windowBytes, 256 * KIB);
  credit.release();
  credit.release();
  other.release();
  t.is(budget.bytes, 0);
});

test('a limit never goes down, and exceeds what is consumed by a window at most', (t) => {
  const step = fc.record({part: fc.double({min: 0, max: 1, noNaN: true}), ms: fc.nat(500)});
  holds(
    t,
    fc.property(fc.array(step), fc.nat(4_000_000), (steps, cap) => {
      const credit = new ReceiveCredit(new WindowBudget(cap), start);
      let now = 0;
      let consumed = 0;
      for (const {part, ms} of steps) {
        const before = credit.limit;
        credit.receive(credit.limit - credit.received);
        consumed += Math.floor((credit.received - consumed) * part);
        credit.consume(consumed);
        now += ms;
        if (credit.isDue) credit.grant(now, 50);
        assert.ok(credit.limit >= before);
        assert.ok(credit.limit - consumed <= Math.max(before - consumed, credit.windowBytes));
      }
    }),
  );
});

test('over a path of 60 ms a stream ends up with the window it needs', (t) => {
  const pair = new Pair({delayMs: 30}).advance(1000);
  const {stream, ear} = pair.open();
  pair.advance(100);
  feed(stream, ear, new Uint8Array(100_000_000));
  pair.advance(2000);
  const received = pair.offered[0]?.ear.received ?? 0;
  // With 256 KiB in each round trip it would have been 8.7 MB.
  t.true(received > 50_000_000, `${received}`);
  t.true(pair.agent.windowBytes > INITIAL_WINDOW_BYTES);
});

test('a stopped reader holds no more than its window, whatever the sender has', (t) => {
  const ear = new Ear({consume: false});
  const pair = new Pair({
    onOpen(stream) {
      stream.handler = ear;
      stream.accept(NONE);
    },
  }).settle();
  const sender = pair.open();
  pair.settle();
  feed(sender.stream, sender.ear, new Uint8Array(50_000_000));
  pair.advance(60_000);
  t.is(ear.received, INITIAL_WINDOW_BYTES);
  t.is(sender.stream.writable, 0);
  t.is(pair.layer.queuedBytes, 0);
});
