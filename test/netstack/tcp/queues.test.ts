import test from 'ava';
import fc from 'fast-check';
import {Assembler} from '../../../netstack/tcp/assembler.ts';
import {SendQueue} from '../../../netstack/tcp/send-queue.ts';
import {seqAdd, seqDiff, seqLe, seqLt} from '../../../netstack/tcp/seq.ts';
import {stream} from '../../helpers/netstack.ts';
import {concat} from '../../helpers/packet.ts';

const LIMITS = {outOfOrderSegments: 100, outOfOrderBytes: 10_000};

test('sequence numbers compare modulo 2^32', (t) => {
  t.is(seqAdd(2 ** 32 - 1, 2), 1);
  t.is(seqAdd(0, -1), 2 ** 32 - 1);
  t.is(seqDiff(5, 2 ** 32 - 5), 10);
  t.is(seqDiff(2 ** 32 - 5, 5), -10);
  t.true(seqLt(2 ** 32 - 1, 0));
  t.false(seqLt(0, 0));
  t.true(seqLe(0, 0));
  t.false(seqLe(1, 2 ** 32 - 1));
});

test('the assembler gives back each byte once, in order, whatever the pieces', (t) => {
  const piece = fc.tuple(fc.nat(200), fc.integer({min: 1, max: 60}));
  fc.assert(
    fc.property(fc.array(piece, {maxLength: 40}), (pieces) => {
      const assembler = new Assembler();
      const known = new Set<number>();
      for (const [start, length] of pieces) {
        t.true(assembler.insert(start, stream(start, length), LIMITS));
        for (let at = start; at < start + length; at += 1) {
          known.add(at);
        }
        t.is(assembler.bytes, known.size);
      }
      let offset = 0;
      while (known.size > 0) {
        const chunk = assembler.take(offset);
        if (chunk === undefined) {
          t.false(known.has(offset));
          offset += 1;
          continue;
        }
        t.deepEqual(chunk, stream(offset, chunk.length));
        for (let at = 0; at < chunk.length; at += 1) {
          t.true(known.delete(offset + at));
        }
        offset += chunk.length;
      }
      t.is(assembler.size, 0);
      t.is(assembler.bytes, 0);
    }),
    {numRuns: 300},
  );
});

test('the assembler keeps copies', (t) => {
  const assembler = new Assembler();
  const bytes = stream(5, 5);
  assembler.insert(5, bytes, LIMITS);
  bytes.fill(0);
  t.deepEqual(assembler.take(5), stream(5, 5));
});

test('the assembler drops what became known meanwhile', (t) => {
  const assembler = new Assembler();
  assembler.insert(5, stream(5, 5), LIMITS);
  assembler.insert(20, stream(20, 5), LIMITS);
  t.deepEqual(assembler.take(22), stream(22, 3));
  t.is(assembler.bytes, 0);
});

test('the assembler says when it has no room', (t) => {
  const assembler = new Assembler();
  t.true(assembler.insert(5, stream(5, 9_000), LIMITS));
  t.false(assembler.insert(20_000, stream(20_000, 2_000), LIMITS));
  t.is(assembler.bytes, 9_000);
});

test('the send queue gathers any range of what was written', (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.nat(50), {minLength: 1, maxLength: 60}),
      fc.float({min: 0, max: 1, noNaN: true}),
      fc.nat(200),
      fc.integer({min: 1, max: 70}),
      (sizes, from, length, maxParts) => {
        const queue = new SendQueue();
        let written = 0;
        for (const size of sizes) {
          queue.push(stream(written, size));
          written += size;
        }
        t.is(queue.written, written);
        const offset = Math.floor(from * written);
        queue.acknowledge(Math.floor(offset / 2));
        const parts: Uint8Array[] = [];
        const count = queue.gather({offset, length, maxParts}, parts);
        t.true(count <= maxParts);
        const bytes = concat(...parts.slice(0, count));
        t.is(bytes.length, queue.gathered);
        t.deepEqual(bytes, stream(offset, bytes.length));
        if (count < maxParts) {
          t.is(bytes.length, Math.min(length, written - offset));
        }
      },
    ),
  );
});

test('the send queue forgets what is acknowledged, and nothing else', (t) => {
  const queue = new SendQueue();
  for (let at = 0; at < 1_000; at += 1) {
    queue.push(stream(at * 10, 10));
    queue.acknowledge(at * 10 - 15);
    const parts: Uint8Array[] = [];
    const count = queue.gather({offset: queue.acked, length: 100, maxParts: 10}, parts);
    const bytes = concat(...parts.slice(0, count));
    t.deepEqual(bytes, stream(queue.acked, at * 10 + 10 - queue.acked));
  }
  queue.acknowledge(5);
  t.is(queue.acked, 999 * 10 - 15, 'never goes back');
  queue.acknowledge(1e9);
  t.is(queue.acked, 10_000, 'nor beyond what was written');
});
