import assert from 'node:assert/strict';
import test from 'ava';
import fc from 'fast-check';
import {ReadAhead} from '../../../layer/files/read-ahead.ts';
import {ReadAroundMemory} from '../../../layer/files/read-around.ts';
import {giveBack, takeBuffer} from '../../../layer/files/read-buffers.ts';
import {pattern} from '../../helpers/tunnel.ts';

const large = pattern(4_000_000);
/** Reading takes so long, ms, for so many bytes. */
type Link = (bytes: number) => number;
const far: Link = (bytes) => 20 + bytes / 1_000_000;
const narrow: Link = (bytes) => 20 + bytes / 100;
const middling: Link = (bytes) => 2 + bytes / 25_000;
const near: Link = (bytes) => 0.1 + bytes / 1_000_000;

/** A file at the end of a link, and what was asked of it. */
function file(
  bytes: Uint8Array,
  link: Link,
  {memory = new ReadAroundMemory(), othersUseMemory = false} = {},
) {
  const asked: {offset: number; length: number; isLater: boolean}[] = [];
  const state = {bytes, now: 0, version: 'one', checkedAt: 0};
  const waiting: {due: number; come: () => void}[] = [];
  /** The next answer comes. */
  const tick = (): void => {
    waiting.sort((one, other) => one.due - other.due);
    const next = waiting.shift();
    state.now = Math.max(state.now, next?.due ?? 0);
    next?.come();
  };
  const ahead = new ReadAhead(
    async (offset, length, isLater = false) => {
      asked.push({offset, length, isLater});
      const bytes = state.bytes.subarray(offset, offset + length);
      const buffer = takeBuffer(bytes.length);
      buffer.set(bytes);
      const due = state.now + link(length);
      await new Promise<void>((come) => {
        waiting.push({due, come});
        setImmediate(tick);
      });
      return buffer;
    },
    {
      firstBytes: 128_000,
      size: bytes.length,
      around: {memory, version: () => state},
      now: () => state.now,
    },
  );
  const read = async (offset: number, length = 4096): Promise<Buffer> => {
    const {parts, release} = await ahead.read(offset, length);
    const copy = Buffer.concat(parts);
    release();
    if (!othersUseMemory) return copy;
    // What is given back others get, and write to.
    for (const each of Array.from({length: 80}, () => takeBuffer(131_072))) {
      each.fill(0xee);
      giveBack(each);
    }
    return copy;
  };
  /** Reads pieces that have nothing to do with each other, far from the beginning and not in order. */
  const scatter = async (count: number): Promise<void> => {
    for (let index = 0; index < count; index++) {
      const block = 1 + ((index * 11) % 29);
      await read(block * 131_072 + 4096);
    }
  };
  return {asked, state, ahead, read, scatter};
}

test('over a long way, what is around a small piece comes with it', async (t) => {
  const {asked, read, scatter} = file(large, far);
  await scatter(29);
  const before = asked.length;
  t.true(before < 58);
  t.true((asked.at(-1)?.length ?? 0) >= 65_536);
  const at = 1 + ((28 * 11) % 29);
  for (const offset of [20_480, 36_864, 8192]) {
    const start = at * 131_072 + offset;
    t.deepEqual(await read(start), Buffer.from(large.slice(start, start + 4096)));
  }
  t.is(asked.length, before);
});

test('where the bytes cost more than the way, pieces are read alone', async (t) => {
  const {asked, ahead, scatter} = file(large, narrow);
  for (let round = 0; round < 40; round++) {
    await scatter(29);
    ahead.clear(); // the next pieces are far from these
  }
  const more = asked.slice(200).filter(({length}) => length > 4096);
  t.true(more.length < 40, `${more.length} of ${asked.length}`);
});

test('a block is as long as one that comes before the next piece can', async (t) => {
  const {asked, ahead, scatter} = file(large, middling);
  for (let round = 0; round < 10; round++) {
    await scatter(29);
    ahead.clear();
  }
  const lengths = asked.slice(100).map(({length}) => length);
  t.true(lengths.every((length) => length === 4096 || length === 32_768));
  t.is(asked.slice(100, 110).filter(({length}) => length > 4096).length, 5);
});

test('a block may be read later than what is asked after it, a piece may not', async (t) => {
  const {asked, scatter} = file(large, far);
  await scatter(29);
  t.true(asked.every(({length, isLater}) => isLater === length > 4096));
});

test('nobody waits for what is around his piece', async (t) => {
  const {state, scatter, read} = file(large, (bytes) => (bytes > 4096 ? 30 : 20));
  await scatter(20);
  const start = state.now;
  await read(30 * 131_072);
  t.is(state.now, start + 20);
});

test('where pieces come at once, they are read alone', async (t) => {
  const {asked, scatter} = file(large, near);
  for (let round = 0; round < 5; round++) await scatter(29);
  t.true(asked.every(({length}) => length === 4096));
});

test('where pieces come at once but one is held up now and then, they are read alone', async (t) => {
  let turn = 0;
  const {asked, scatter} = file(large, (bytes) => (turn++ % 5 === 0 ? 10 : near(bytes)));
  for (let round = 0; round < 20; round++) await scatter(29);
  const more = asked.slice(20).filter(({length}) => length > 4096);
  t.is(more.length, 0);
});

test('where blocks are of no use, none is read for a while', async (t) => {
  const {asked, ahead, scatter} = file(large, far);
  for (let round = 0; round < 20; round++) {
    await scatter(29);
    ahead.clear(); // the next pieces are far from these
  }
  t.true(asked.filter(({length}) => length > 4096).length <= 64);
});

/** A file of which a block is known, at its second piece. */
async function known() {
  const one = file(large, far);
  await one.scatter(20);
  const {offset = 0} = one.asked.at(-1) ?? {};
  one.asked.length = 0;
  return {...one, offset};
}

test('a block is believed for a second, and as long as the version is known to be the same', async (t) => {
  const {asked, state, read, offset} = await known();
  state.now += 900;
  await read(offset + 8192);
  t.is(asked.length, 0);
  state.now += 5000;
  state.checkedAt = state.now - 999;
  await read(offset + 16_384);
  t.is(asked.length, 0);
  state.bytes = large.map((byte) => byte ^ 1);
  state.checkedAt -= 1;
  const start = offset + 24_576;
  t.deepEqual(await read(start), Buffer.from(state.bytes.slice(start, start + 4096)));
});

test('at its end a file is as long as it is, by a piece and a block', async (t) => {
  const {asked, state, read, scatter} = file(large, far);
  await scatter(20);
  const end = large.length - 100;
  asked.length = 0;
  t.is((await read(end)).length, 100);
  t.is(asked.length, 2);
  state.bytes = Buffer.concat([large, Buffer.alloc(5000, 'x')]);
  t.is((await read(end)).length, 4096, 'it has grown');
});

test('a block of another version is read again', async (t) => {
  const {asked, state, read, offset} = await known();
  state.now += 5000;
  state.checkedAt = state.now;
  state.version = 'two';
  await read(offset + 8192);
  t.is(asked.length, 1);
});

test('what is written makes blocks void', async (t) => {
  const {ahead, state, read, offset} = await known();
  ahead.clear();
  state.bytes = large.map((byte) => byte ^ 1);
  const start = offset + 8192;
  t.deepEqual(await read(start), Buffer.from(state.bytes.slice(start, start + 4096)));
});

test('blocks of all files together are limited, and all are gone with the files', async (t) => {
  const memory = new ReadAroundMemory();
  const files = Array.from({length: 40}, () => file(large, far, {memory}));
  for (const {scatter} of files) await scatter(29);
  t.is(memory.blocks.size, 1024);
  for (const {ahead} of files) ahead.clear();
  t.is(memory.blocks.size, 0);
});

test('whatever is read from anywhere, it is what is there', async (t) => {
  const bytes = pattern(900_000);
  const step = fc.record({
    offset: fc.oneof(fc.nat(1_000_000), fc.integer({min: 300_000, max: 340_000})),
    length: fc.integer({min: 1, max: 20_000}),
    writes: fc.integer({min: 0, max: 9}),
    waits: fc.boolean(),
  });
  await t.notThrowsAsync(
    fc.assert(
      fc.asyncProperty(fc.array(step, {minLength: 20, maxLength: 60}), async (steps) => {
        const {read, state, ahead} = file(Uint8Array.from(bytes), far, {othersUseMemory: true});
        const reading: Promise<void>[] = [];
        for (const {offset, length, writes, waits} of steps) {
          const check = async (): Promise<void> => {
            assert.ok(
              (await read(offset, length)).equals(state.bytes.slice(offset, offset + length)),
            );
          };
          reading.push(check());
          if (waits || writes === 0) await Promise.all(reading.splice(0));
          if (writes > 0) continue;
          state.bytes.fill(offset % 251, offset, offset + length);
          ahead.clear();
        }
        await Promise.all(reading);
      }),
      {numRuns: 60},
    ),
  );
});
