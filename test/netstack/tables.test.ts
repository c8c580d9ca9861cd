import test from 'ava';
import fc from 'fast-check';
import {createFlowKey, type FlowKey, FlowTable, type Keyed} from '../../netstack/flow-table.ts';
import {createHashKey, hashEnd, hashStart, hashWord} from '../../netstack/hash.ts';
import {RateLimit} from '../../netstack/icmp/rate-limit.ts';
import {Slab} from '../../netstack/slab.ts';
import {type Timed, TimerHeap} from '../../netstack/timer-heap.ts';
import {seeded, stream} from '../helpers/netstack.ts';

function entry(fields: Partial<FlowKey>): Keyed {
  return {key: {...createFlowKey(), ...fields}, hash: 0, next: undefined};
}

test('the flow table finds what was added, and nothing else', (t) => {
  const table = new FlowTable(seeded(1));
  const entries = new Map<number, Keyed>();
  for (let ports = 0; ports < 5_000; ports += 1) {
    const added = entry({ports, source3: ports % 7});
    entries.set(ports, added);
    table.add(added);
  }
  for (let ports = 0; ports < 5_000; ports += 3) {
    const gone = entries.get(ports);
    if (gone !== undefined) {
      t.true(table.delete(gone));
      t.false(table.delete(gone));
      entries.delete(ports);
    }
  }
  t.is(table.size, entries.size);
  for (let ports = 0; ports < 5_000; ports += 1) {
    t.is(table.get({...createFlowKey(), ports, source3: ports % 7}), entries.get(ports));
  }
  t.is(new Set(table).size, entries.size);
  t.true([...table].every((found) => entries.get(found.key.ports) === found));
  table.clear();
  t.is(table.size, 0);
  t.deepEqual([...table], []);
});

test('every field of a key counts', (t) => {
  const table = new FlowTable(seeded(1));
  table.add(entry({version: 6}));
  for (const field of Object.keys(createFlowKey()) as Array<keyof FlowKey>) {
    const other = {...createFlowKey(), version: 6 as const, [field]: field === 'version' ? 4 : 1};
    t.is(table.get(other), undefined, field);
  }
  t.not(table.get({...createFlowKey(), version: 6}), undefined);
});

test('hashes hang on the secret, the words and their number', (t) => {
  const hash = (seed: number, ...words: number[]): number => {
    hashStart(createHashKey(seeded(seed)));
    words.forEach(hashWord);
    return hashEnd();
  };
  const hashes = [hash(1), hash(1, 0), hash(1, 0, 0), hash(1, 1, 0), hash(1, 0, 1), hash(2, 0)];
  t.is(new Set(hashes).size, hashes.length);
  t.is(hash(1, 5, 6), hash(1, 5, 6));
});

test('the heap gives back deadlines in order, through any changes', (t) => {
  const change = fc.tuple(fc.nat(30), fc.option(fc.nat(1_000), {nil: undefined}));
  fc.assert(
    fc.property(fc.array(change, {maxLength: 200}), (changes) => {
      const heap = new TimerHeap<Timed>();
      const items: Timed[] = Array.from({length: 31}, () => ({timerAt: Infinity, timerIndex: -1}));
      const expected = new Map<Timed, number>();
      for (const [index, at] of changes) {
        const item = items[index];
        if (item !== undefined) {
          heap.set(item, at ?? Infinity);
          expected.delete(item);
          if (at !== undefined) {
            expected.set(item, at);
          }
        }
      }
      t.is(heap.size, expected.size);
      const times: number[] = [];
      for (let first = heap.first; first !== undefined; first = heap.first) {
        t.is(first.timerAt, expected.get(first) ?? -1);
        times.push(first.timerAt);
        heap.delete(first);
        t.is(first.timerIndex, -1);
      }
      t.deepEqual(
        times,
        [...expected.values()].sort((a, b) => a - b),
      );
    }),
    {numRuns: 200},
  );
});

test('the slab copies, and its pieces do not touch', (t) => {
  const slab = new Slab();
  const pieces = Array.from({length: 500}, (_, index) =>
    slab.copy(stream(index, (index * 97) % 40_000)),
  );
  pieces.forEach((piece, index) => {
    t.is(Buffer.compare(piece, stream(index, (index * 97) % 40_000)), 0);
  });
});

test('the rate limit has a burst and a rate, and survives a clock that stands still', (t) => {
  const limit = new RateLimit(1_000, 3);
  const take = (now: number) => [1, 2, 3, 4, 5].filter(() => limit.take(now)).length;
  t.is(take(100), 3);
  t.is(take(100), 0);
  t.is(take(102), 2);
  t.is(take(99), 0);
  t.is(take(10_000), 3);
});
