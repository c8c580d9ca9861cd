/** A side that is stopped (SIGSTOP, a lid, a debugger) for up to 15 s, at any moment, is not dead. */

import assert from 'node:assert/strict';
import test from 'ava';
import fc from 'fast-check';
import {PING_AFTER_MS} from '../../tunnel/limits.ts';
import {Mux} from '../../tunnel/mux.ts';
import {Ear, feed, holds, NONE, pattern, seeded, TOKEN} from '../helpers/tunnel.ts';

/** Two sides that can be stopped; what is sent to a stopped one waits, as in the kernel. */
class PausablePair {
  now = 1000;
  readonly layer: Mux;
  readonly agent: Mux;
  readonly ears: Ear[] = [];
  readonly codes: string[] = [];
  stopped: Mux | undefined;
  readonly #waiting = new Map<Mux, Uint8Array[]>();
  readonly #bytesPerMs: number;

  /** `bytesPerMs`: how fast the connection is, in each direction. */
  constructor(bytesPerMs: number) {
    this.#bytesPerMs = bytesPerMs;
    const common = {token: TOKEN, random: seeded(1)};
    const onClose = (error?: {code: string}): void =>
      void this.codes.push(error?.code ?? 'NO_ERROR');
    this.layer = new Mux({...common, role: 'layer'}, {onClose});
    this.agent = new Mux(
      {...common, role: 'agent'},
      {
        onClose,
        onOpen: (stream) => {
          const ear = new Ear();
          ear.stream = stream;
          stream.handler = ear;
          this.ears.push(ear);
          stream.accept(NONE);
        },
      },
    );
    for (const mux of [this.layer, this.agent]) this.#waiting.set(mux, []);
  }

  /** Lets a tick of 50 ms pass. A side that wakes up looks at its clock before it looks at what came. */
  tick(): void {
    this.now += 50;
    for (const mux of [this.layer, this.agent]) if (mux !== this.stopped) mux.poll(this.now);
    for (const [mux, peer] of [
      [this.layer, this.agent],
      [this.agent, this.layer],
    ] as const) {
      if (mux === this.stopped) continue;
      const inbox = this.#waiting.get(mux) ?? [];
      for (let first = inbox.shift(); first; first = inbox.shift()) mux.receive(first, this.now);
      const outbox = this.#waiting.get(peer) ?? [];
      // The kernel takes no more than its buffers hold.
      let room = Math.min(
        50 * this.#bytesPerMs,
        400_000 - outbox.reduce((a, b) => a + b.length, 0),
      );
      while (room > 0) {
        const message = mux.transmit(this.now);
        if (message === undefined) break;
        outbox.push(message.slice());
        room -= message.length;
      }
    }
  }

  pass(ms: number): void {
    for (const end = this.now + ms; this.now < end; ) this.tick();
  }
}

const scenario = fc.record({
  side: fc.constantFrom('layer', 'agent'),
  // A whole round of pings, so that each moment between two of them comes up.
  afterMs: fc.integer({min: 1000, max: 1000 + 2 * PING_AFTER_MS}),
  stoppedMs: fc.integer({min: 10_000, max: 15_000}),
});

test('an idle side that is stopped for up to 15 s at any moment is not dead', (t) => {
  holds(
    t,
    fc.property(scenario, ({side, afterMs, stoppedMs}) => {
      const pair = new PausablePair(10_000);
      pair.pass(afterMs);
      pair.stopped = side === 'layer' ? pair.layer : pair.agent;
      pair.pass(stoppedMs);
      pair.stopped = undefined;
      pair.pass(25_000);
      assert.deepEqual(pair.codes, []);
      assert.ok(pair.layer.isReady && pair.agent.isReady);
    }),
    {numRuns: 100},
  );
});

test('a side that is stopped for up to 15 s amid bulk both ways is not dead, and all bytes arrive', (t) => {
  const up = pattern(6_000_000, 1);
  const down = pattern(5_000_000, 2);
  holds(
    t,
    fc.property(scenario, ({side, afterMs, stoppedMs}) => {
      // So slow that it takes longer than the pause comes late, and queues are full all the time.
      const pair = new PausablePair(300);
      pair.pass(200);
      const ear = new Ear();
      ear.stream = pair.layer.open('tcp', NONE, ear);
      feed(ear.stream, ear, up);
      pair.pass(200);
      const there = pair.ears[0];
      assert.ok(there?.stream);
      feed(there.stream, there, down);
      pair.pass(afterMs);
      pair.stopped = side === 'layer' ? pair.layer : pair.agent;
      pair.pass(stoppedMs);
      pair.stopped = undefined;
      pair.pass(60_000);
      assert.deepEqual(pair.codes, []);
      assert.ok(there.bytes.equals(up));
      assert.ok(ear.bytes.equals(down));
    }),
    {numRuns: 20},
  );
});

test('a side that stays stopped is dead for the other one within 20 s of the last sign of life', (t) => {
  for (const side of ['layer', 'agent'] as const) {
    const pair = new PausablePair(10_000);
    pair.pass(30_000);
    pair.stopped = pair[side];
    const from = pair.now;
    while (pair.codes.length === 0) pair.tick();
    t.deepEqual(pair.codes, ['PEER_DEAD']);
    t.true(pair.now - from > 15_000 && pair.now - from <= 20_050, `${pair.now - from}`);
  }
});
