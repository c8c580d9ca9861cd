import assert from 'node:assert/strict';
import test from 'ava';
import fc from 'fast-check';
import {ReadAhead, ReadAheadMemory} from '../../../layer/files/read-ahead.ts';
import {giveBack, takeBuffer} from '../../../layer/files/read-buffers.ts';
import {pattern} from '../../helpers/tunnel.ts';

/** Reads as the server of files does: what was read is in memory that others get afterwards. */
async function readOnce(ahead: ReadAhead, offset: number, length: number): Promise<Buffer> {
  const {parts, release} = await ahead.read(offset, length);
  const bytes = Buffer.concat(parts);
  release();
  const others = Array.from({length: 80}, () => takeBuffer(131_072));
  for (const each of others) {
    each.fill(0xee);
    giveBack(each);
  }
  return bytes;
}

/** A file, and what was asked of it. */
function file(bytes: Uint8Array, firstBytes = 128_000) {
  const asked: {offset: number; length: number}[] = [];
  const state = {bytes, now: 0};
  const ahead = new ReadAhead(
    async (offset, length) => {
      asked.push({offset, length});
      const bytes = state.bytes.subarray(offset, offset + length);
      const buffer = takeBuffer(bytes.length);
      buffer.set(bytes);
      return buffer;
    },
    {firstBytes, size: bytes.length, now: () => state.now},
  );
  const read = async (offset: number, length: number) => await readOnce(ahead, offset, length);
  return {asked, state, ahead, read};
}

test('reading in order gives the file, by few and large requests', async (t) => {
  const bytes = pattern(3_000_000);
  const {asked, read} = file(bytes);
  const parts: Buffer[] = [];
  for (let offset = 0; offset < bytes.length; offset += 4096) parts.push(await read(offset, 4096));
  t.true(Buffer.concat(parts).equals(bytes));
  t.true(asked.length <= 25, `${asked.length} requests`);
});

test('whatever is read, it is what is there', async (t) => {
  const bytes = pattern(600_000);
  const step = fc.record({
    offset: fc.oneof(fc.nat(700_000), fc.constant(-1)),
    length: fc.integer({min: 1, max: 200_000}),
    waits: fc.boolean(),
  });
  await t.notThrowsAsync(
    fc.assert(
      fc.asyncProperty(fc.array(step, {maxLength: 30}), async (steps) => {
        const {read} = file(bytes);
        let end = 0;
        const reading: Promise<void>[] = [];
        for (const {offset, length, waits} of steps) {
          const at = offset < 0 ? end : offset;
          const check = async (): Promise<void> => {
            assert.ok((await read(at, length)).equals(bytes.slice(at, at + length)));
          };
          reading.push(check());
          if (waits) await reading.at(-1);
          end = at + length;
        }
        await Promise.all(reading);
      }),
      {numRuns: 60},
    ),
  );
});

test('a file that grows is read to its new end', async (t) => {
  const {state, read} = file(Buffer.from('one'));
  t.is((await read(0, 4096)).toString(), 'one');
  state.bytes = Buffer.from('one two');
  t.is((await read(3, 4096)).toString(), ' two');
});

test('what was read a second ago is read again', async (t) => {
  const {state, read} = file(Buffer.alloc(300_000, 'a'));
  t.is((await read(0, 10)).toString(), 'a'.repeat(10));
  state.bytes = Buffer.alloc(300_000, 'b');
  t.is((await read(10, 10)).toString(), 'a'.repeat(10));
  state.now = 1000;
  t.is((await read(20, 10)).toString(), 'b'.repeat(10));
});

test('who jumps about gets what is asked for, and no more', async (t) => {
  const {asked, read} = file(pattern(2_000_000));
  await read(1_000_000, 4096);
  await read(1_900_000, 4096);
  t.deepEqual(asked, [
    {offset: 1_000_000, length: 4096},
    {offset: 1_900_000, length: 4096},
  ]);
});

test('who reads large blocks from anywhere gets the next one at once, and nothing beyond', async (t) => {
  const bytes = pattern(6_000_000);
  const {asked, read} = file(bytes);
  const question = 131_072; // as large as the kernel's are
  const block = async (start: number) => {
    const from = asked.length;
    for (let offset = start; offset < start + 4 * question; offset += question) {
      t.deepEqual(
        await read(offset, question),
        Buffer.from(bytes.slice(offset, offset + question)),
      );
      if (offset === start && start !== 8 * question) t.is(asked.length, from + 4);
    }
    const ends = asked.slice(from).map(({offset, length}) => offset + length);
    t.true(Math.max(...ends) <= start + 4 * question);
  };
  await block(8 * question);
  await block(24 * question);
  await block(16 * question);
});

test('what many open files have of themselves is bounded, and leaves room for who reads on', async (t) => {
  const memory = new ReadAheadMemory();
  const bytes = pattern(131_072);
  let now = 0;
  const options = {firstBytes: 128_000, memory, now: () => now};
  const piece = async (offset: number, length: number) => bytes.slice(offset, offset + length);
  const all = Array.from(
    {length: 600},
    () => new ReadAhead(piece, {...options, size: 131_072, content: bytes}),
  );
  t.is(memory.pieces.size, 512);
  t.is(memory.refused, 88);
  now = 1000;
  const asked: number[] = [];
  const large = new ReadAhead(
    async (offset, length) => {
      asked.push(offset);
      return new Uint8Array(length);
    },
    {...options, size: 1_048_576},
  );
  (await large.read(0, 131_072)).release();
  t.deepEqual(asked, [0, 131_072], 'what is next, too');
  for (const one of all) {
    const {parts, release} = await one.read(0, 131_072);
    t.is(Buffer.concat(parts).compare(bytes), 0);
    release();
  }
  t.is(memory.pieces.size, 512);
});

test('without a buffer nothing is read ahead', async (t) => {
  const {asked, read} = file(pattern(200_000), 0);
  await read(0, 4096);
  t.deepEqual(asked, [{offset: 0, length: 4096}]);
});
