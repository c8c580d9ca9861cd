import test from 'ava';
import {
  INITIAL_WINDOW_BYTES,
  LEAST_WINDOW_BYTES,
  OUTBOX_TIGHT_BYTES,
  QUEUED_FLOOR_BYTES,
  RETAINED_FLOOR_BYTES,
} from '../../tunnel/limits.ts';
import {Memory, Pool} from '../../tunnel/memory.ts';
import {Mux} from '../../tunnel/mux.ts';
import type {MuxOptions} from '../../tunnel/mux-types.ts';
import {Tickets} from '../../tunnel/tickets.ts';
import {
  Ear,
  feed,
  NONE,
  Pair,
  type PairOptions,
  pattern,
  seeded,
  TOKEN,
} from '../helpers/tunnel.ts';

const MEBIBYTE = 1_048_576;

/** A client of an agent with this memory. */
function client(memory: Memory, options: PairOptions = {}): Pair {
  return new Pair({...options, agent: {memory, ...options.agent}}).settle();
}

/** Everything that a memory counts. */
function usage({windows, held, queued, kept}: Memory): number[] {
  return [windows.bytes, windows.count, held.bytes, queued.bytes, kept.bytes];
}

/** Has the agent send so much on each of so many streams; the client grants it all, and reads nothing yet. */
function pour(pair: Pair, streams: number, bytes: Uint8Array): Ear[] {
  const ears = Array.from({length: streams}, () => pair.open('tcp', NONE, 16 * MEBIBYTE).ear);
  // The client hears OPENED when it reads; the agent has what it needs with OPEN.
  for (let out = pair.layer.transmit(pair.now); out; out = pair.layer.transmit(pair.now)) {
    pair.agent.receive(out, pair.now);
  }
  for (const {stream, ear} of pair.offered) feed(stream, ear, bytes);
  return ears;
}

test('who waits for room in a pool is told once, when a quarter is free', (t) => {
  const pool = new Pool(100);
  pool.change(100);
  t.true(pool.isFull);
  let calls = 0;
  const call = (): void => void calls++;
  for (let count = 0; count < 1000; count++) pool.whenFree(call);
  pool.change(-24);
  t.is(calls, 0);
  pool.change(-1);
  pool.change(50);
  pool.change(-70);
  t.is(calls, 1);
  t.is(pool.peakBytes, 125);
});

test('windows of many clients are a fair part of the memory, of few as large as ever', (t) => {
  const memory = new Memory(8 * MEBIBYTE);
  const pairs = Array.from({length: 8}, () => client(memory));
  for (let round = 0; round < 40; round++) {
    for (const pair of pairs) {
      pair.open();
      pair.settle();
    }
  }
  t.is(memory.windows.count, 8 * 40);
  t.is(pairs[0]?.agent.streamCount, 40);
  const windows = pairs.map(({agent}) => agent.windowBytes);
  t.is(
    windows.reduce((sum, bytes) => sum + bytes),
    memory.windows.bytes,
  );
  // The first 16 have 256 KiB, the n-th of the others 4 MiB / n, but never less than 16 KiB.
  let expected = 0;
  for (let count = 1; count <= 320; count++) {
    const fair = Math.floor((4 * MEBIBYTE) / count);
    expected += Math.min(INITIAL_WINDOW_BYTES, Math.max(LEAST_WINDOW_BYTES, fair));
  }
  t.is(memory.windows.bytes, expected);
  for (const {layer} of pairs) layer.close();
  for (const pair of pairs) pair.settle();
  t.deepEqual(usage(memory), [0, 0, 0, 0, 0]);
});

test('above the memory no window grows, and those that did fall back', (t) => {
  const memory = new Memory(4 * MEBIBYTE);
  const pair = client(memory, {delayMs: 20});
  const {stream, ear} = pair.open();
  feed(stream, ear, new Uint8Array(6 * MEBIBYTE));
  pair.advance(2000);
  t.is(pair.agent.windowBytes, 2 * MEBIBYTE, 'the sum may not exceed half of the memory');
  const other = client(memory);
  for (let count = 0; count < 8; count++) other.open();
  other.settle();
  t.true(memory.windows.isFull);
  feed(stream, ear, new Uint8Array(3 * MEBIBYTE));
  pair.advance(2000);
  t.is(pair.agent.windowBytes, Math.floor((2 * MEBIBYTE) / 9));
  t.is(pair.there(0).ear.received, 9 * MEBIBYTE);
});

test('clients that do not read: what waits for all of them is bounded, and another one has its part', (t) => {
  const memory = new Memory(8 * MEBIBYTE);
  const bytes = new Uint8Array(512 * 1024);
  const stalled = Array.from({length: 16}, () => client(memory));
  for (const pair of stalled) pour(pair, 20, bytes);
  t.true(memory.queued.isFull);
  const most = memory.queued.capBytes + 16 * (QUEUED_FLOOR_BYTES + bytes.length);
  t.true(memory.queued.peakBytes <= most, `${memory.queued.peakBytes} <= ${most}`);
  for (const {agent} of stalled) t.true(agent.queuedBytes >= QUEUED_FLOOR_BYTES);
  const pair = client(memory);
  const {ear} = pair.open('tcp', NONE, 16 * MEBIBYTE);
  pair.settle();
  const news = pattern(3 * MEBIBYTE);
  const there = pair.there(0);
  feed(there.stream, there.ear, news, () => there.stream.end());
  pair.settle();
  t.true(ear.bytes.equals(news));
  t.true(pair.agent.counters.queueStalls > 0);
});

test('those who waited for memory go on when it is free, whosever it was', (t) => {
  const memory = new Memory(MEBIBYTE);
  const [hog, other] = [client(memory), client(memory)];
  const bytes = pattern(400_000);
  pour(hog, 3, bytes);
  const ears = pour(other, 3, bytes);
  t.true(hog.agent.counters.queueStalls > 0 && other.agent.counters.queueStalls > 0);
  hog.layer.close();
  hog.settle();
  t.is(hog.agent.isClosed, true);
  t.is(memory.queued.bytes, other.agent.queuedBytes, 'what waits for nobody counts for nothing');
  other.settle();
  for (const ear of ears) t.true(ear.bytes.equals(bytes));
  t.is(other.agent.queuedBytes, 0);
});

test('while memory is short, news and small datagrams still have a place', (t) => {
  const memory = new Memory(MEBIBYTE);
  const pair = client(memory);
  pour(pair, 2, new Uint8Array(2 * MEBIBYTE));
  const call = pair.open('call');
  const udp = pair.open('udp');
  for (let out = pair.layer.transmit(pair.now); out; out = pair.layer.transmit(pair.now)) {
    pair.agent.receive(out, pair.now);
  }
  const [, , calls, datagrams] = pair.offered;
  t.is(calls?.stream.writable, OUTBOX_TIGHT_BYTES);
  for (let count = 0; count < 100; count++) datagrams?.stream.sendDatagram(new Uint8Array(500));
  t.is(pair.agent.counters.datagramsDroppedFull, 96);
  calls?.stream.write(new Uint8Array(9));
  pair.settle();
  t.is(call.ear.received, 9);
  t.is(udp.ear.datagrams.length, 4);
});

/** The layer and agent of a session that may be resumed, as far as the agent has something to send. */
function keeper(memory: Memory, windowMs = 60_000): {agent: Mux; pump(): number} {
  const common = {token: TOKEN, random: seeded(1)};
  const resume = {windowMs, tickets: new Tickets()};
  const options: MuxOptions = {...common, role: 'agent', resume, memory};
  const bytes = new Uint8Array(65_536);
  const agent = new Mux(options, {
    onOpen(stream) {
      const write = (): void => {
        while (stream.writable >= bytes.length) stream.write(bytes);
      };
      stream.handler = {onWritable: write};
      stream.accept(NONE);
      write();
    },
  });
  const layer = new Mux({...common, role: 'layer', resume: {windowMs}}, {});
  layer.open('tcp', NONE, new Ear({consume: false}), 64 * MEBIBYTE);
  for (let round = 0; round < 2; round++) {
    for (let out = layer.transmit(0); out; out = layer.transmit(0)) agent.receive(out, 0);
    const answer = agent.transmit(0);
    if (answer !== undefined) layer.receive(answer, 0);
  }
  return {
    agent,
    /** Sends what may be sent; nothing of it is ever acknowledged. Returns the bytes. */
    pump() {
      let sent = 0;
      for (let out = agent.transmit(0); out; out = agent.transmit(0)) sent += out.length;
      return sent;
    },
  };
}

test('what is kept for clients that acknowledge nothing is bounded for all of them', (t) => {
  const memory = new Memory(16 * MEBIBYTE);
  const first = keeper(memory);
  first.pump();
  t.true(memory.kept.isFull);
  const others = Array.from({length: 8}, () => keeper(memory));
  for (const other of others) {
    const sent = other.pump();
    t.true(sent >= RETAINED_FLOOR_BYTES - 1000 && sent < RETAINED_FLOOR_BYTES + 70_000, `${sent}`);
  }
  t.true(memory.kept.peakBytes < memory.kept.capBytes + 9 * (RETAINED_FLOOR_BYTES + 70_000));
  for (const {agent} of [first, ...others]) agent.close();
  t.deepEqual(usage(memory), [0, 0, 0, 0, 0]);
});

test('every end of a tunnel gives its part of the memory back', (t) => {
  const memory = new Memory(8 * MEBIBYTE);
  const ends: ((pair: Pair) => void)[] = [
    (pair) => pair.agent.close(),
    (pair) => pair.agent.disconnected(pair.now),
    (pair) => pair.agent.receive(new Uint8Array(3), pair.now),
    // Bytes of streams that are gone already still wait.
    (pair) => {
      for (const {stream} of pair.offered) stream.reset('EIO');
      pair.agent.close();
    },
  ];
  for (const end of ends) {
    const pair = client(memory);
    pour(pair, 4, new Uint8Array(300_000));
    pair.open('udp');
    t.true(memory.queued.bytes > 0 && memory.windows.bytes > 0);
    end(pair);
    t.deepEqual(usage(memory), [0, 0, 0, 0, 0]);
  }
});
