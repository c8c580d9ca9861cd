import test from 'ava';
import fc from 'fast-check';
import {WriteQueue} from '../../sockets/write-queue.ts';

test('bytes leave in order, once, whatever the kernel takes and whoever owns them', (t) => {
  const step = fc.oneof(
    fc.record({push: fc.integer({min: 1, max: 6000}), isLent: fc.boolean()}),
    fc.record({take: fc.integer({min: 0, max: 9000})}),
    fc.constant({keep: true}),
  );
  fc.assert(
    fc.property(fc.array(step, {maxLength: 120}), (steps) => {
      const queue = new WriteQueue();
      const parts: Uint8Array[] = [];
      let written = 0;
      let read = 0;
      let told = 0;
      let promised = 0;
      let lent: Uint8Array[] = [];
      const byteAt = (offset: number): number => (offset * 31 + (offset >> 8)) & 0xff;
      const takeUpTo = (limit: number): void => {
        const count = queue.fill(parts);
        let left = limit;
        let taken = 0;
        for (let i = 0; i < count && left > 0; i++) {
          const part = parts[i] ?? new Uint8Array(0);
          const used = Math.min(left, part.length);
          for (let at = 0; at < used; at++) {
            if (part[at] !== byteAt(read + taken + at))
              throw new Error(`byte ${read + at} differs`);
          }
          taken += used;
          left -= used;
        }
        read += taken;
        queue.take(taken);
      };
      for (const each of steps) {
        if ('push' in each) {
          const bytes = Uint8Array.from({length: each.push}, (_, i) => byteAt(written + i));
          written += each.push;
          if (each.isLent) {
            lent.push(bytes);
            queue.push(bytes, true);
          } else {
            promised++;
            queue.push(bytes, false, () => told++);
          }
        } else if ('take' in each) {
          takeUpTo(each.take);
        } else {
          queue.keep();
          for (const bytes of lent) bytes.fill(0xa5);
          lent = [];
        }
        if (queue.bytes !== written - read) throw new Error('the count is wrong');
      }
      while (queue.bytes > 0) takeUpTo(9000);
      return read === written && told === promised;
    }),
  );
  t.pass();
});

test('what is left of many small lent pieces shares buffers', (t) => {
  const queue = new WriteQueue();
  const byte = new Uint8Array([7]);
  for (let i = 0; i < 4096; i++) {
    queue.push(byte, true);
    queue.keep();
  }
  t.is(queue.fill([]), 1);
  t.is(queue.bytes, 4096);
});
