import assert from 'node:assert/strict';
import test from 'ava';
import fc from 'fast-check';
import {emitPing, FRAME} from '../../tunnel/frames.ts';
import {DATAGRAM_BYTES, MESSAGE_BYTES} from '../../tunnel/limits.ts';
import {Mux} from '../../tunnel/mux.ts';
import {Ear, feed, holds, NONE, Pair, pattern, seeded, TOKEN} from '../helpers/tunnel.ts';

test('a stream opens with its body, and the answer carries one too', (t) => {
  const pair = new Pair({onOpen: (stream) => stream.accept(new Uint8Array([9]))}).settle();
  const {ear} = pair.open('tcp', new Uint8Array([1, 2]));
  pair.settle();
  t.deepEqual(ear.events, ['opened']);
  t.deepEqual(ear.opened, new Uint8Array([9]));
});

test('a refused stream tells the errno and is gone on both sides', (t) => {
  const pair = new Pair({onOpen: (stream) => stream.refuse('ECONNREFUSED')}).settle();
  const {ear} = pair.open();
  pair.settle();
  t.deepEqual(ear.events, ['refused ECONNREFUSED']);
  t.is(pair.layer.streamCount + pair.agent.streamCount, 0);
});

test('without onOpen every stream is refused', (t) => {
  const pair = new Pair().settle();
  const ear = new Ear();
  pair.agent.open('tcp', NONE, ear);
  pair.settle();
  t.deepEqual(ear.events, ['refused EOPNOTSUPP']);
});

test('streams opened before the handshake go out after it, early bytes included', (t) => {
  const pair = new Pair();
  const {stream, ear} = pair.open('tcp', new Uint8Array([5]));
  t.is(stream.writable, 0);
  ear.onWritable = () => {
    if (stream.writable > 0) stream.write(new Uint8Array([1, 2, 3]));
    ear.onWritable = () => {};
  };
  pair.settle();
  t.deepEqual(pair.offered[0]?.body, new Uint8Array([5]));
  t.deepEqual(pair.offered[0]?.ear.bytes, Buffer.from([1, 2, 3]));
});

test('OPEN, early bytes and FIN travel in one message', (t) => {
  const pair = new Pair().settle();
  const before = pair.layer.counters.messagesOut;
  const {stream} = pair.open();
  stream.write(new Uint8Array(100));
  stream.end();
  pair.settle();
  t.is(pair.layer.counters.messagesOut, before + 1);
  t.is(pair.offered[0]?.ear.received, 100);
  t.deepEqual(pair.offered[0]?.ear.events, ['end']);
});

test('half-close: each direction ends by itself, and then the stream is gone', (t) => {
  const pair = new Pair().settle();
  const {stream, ear} = pair.open();
  pair.settle();
  stream.end();
  pair.settle();
  const there = pair.there(0);
  t.deepEqual(there.ear.events, ['end']);
  t.is(there.stream.writable > 0, true);
  there.stream.write(new Uint8Array([4]));
  there.stream.end();
  pair.settle();
  t.deepEqual(ear.events, ['opened', 'end', 'close']);
  t.deepEqual(ear.bytes, Buffer.from([4]));
  t.deepEqual(there.ear.events, ['end', 'close']);
  t.is(pair.layer.streamCount + pair.agent.streamCount, 0);
});

test('reset tells the errno after the bytes written before, and calls no own handler', (t) => {
  const pair = new Pair().settle();
  const {stream, ear} = pair.open();
  pair.settle();
  stream.write(new Uint8Array(100_000));
  stream.reset('ECONNRESET');
  pair.settle();
  t.is(pair.offered[0]?.ear.received, 100_000);
  t.deepEqual(pair.offered[0]?.ear.events, ['reset ECONNRESET']);
  t.deepEqual(ear.events, ['opened']);
  t.is(stream.writable, 0);
});

test('stop ends only the direction of the peer, and drops what it still has', (t) => {
  const pair = new Pair().settle();
  const {stream, ear} = pair.open();
  pair.settle();
  const there = pair.there(0);
  there.stream.write(new Uint8Array(50_000));
  stream.stop('ECANCELED');
  pair.settle();
  t.deepEqual(there.ear.events, ['stop ECANCELED']);
  t.is(there.stream.writable, 0);
  stream.write(new Uint8Array([1]));
  stream.end();
  pair.settle();
  t.is(there.ear.received, 1);
  t.deepEqual(ear.events, ['opened', 'close']);
});

test('stop before the peer has accepted does not confuse it', (t) => {
  let offered: {accept(body: Uint8Array): void} | undefined;
  const pair = new Pair({onOpen: (stream) => (offered = stream)}).settle();
  const {stream, ear} = pair.open();
  stream.stop('ECANCELED');
  pair.settle();
  offered?.accept(NONE);
  pair.settle();
  stream.end();
  pair.settle();
  t.deepEqual(ear.events, ['opened', 'close']);
  t.deepEqual(pair.closed, {});
});

test('writing past the credit throws RangeError and writes nothing', (t) => {
  const pair = new Pair({onOpen: (stream) => stream.accept(NONE, 1000)}).settle();
  const {stream} = pair.open();
  pair.settle();
  t.is(stream.writable, 16_384, 'early bytes are not taken back');
  t.throws(() => stream.write(new Uint8Array(stream.writable + 1)), {instanceOf: RangeError});
  t.is(stream.writable, 16_384);
});

test('what was written may be overwritten by its owner at once', (t) => {
  const pair = new Pair().settle();
  const {stream} = pair.open();
  pair.settle();
  const bytes = pattern(70_000);
  const copy = bytes.slice();
  stream.write(bytes);
  bytes.fill(0);
  pair.settle();
  t.true(pair.offered[0]?.ear.bytes.equals(copy));
});

test('no message is longer than a frame of 64 KiB, and small frames share one', (t) => {
  const pair = new Pair().settle();
  const streams = Array.from({length: 300}, () => pair.open().stream);
  pair.settle();
  const before = pair.layer.counters.messagesOut;
  for (const stream of streams) stream.write(new Uint8Array(100));
  let longest = 0;
  let frames = 0;
  for (let out = pair.layer.transmit(pair.now); out; out = pair.layer.transmit(pair.now)) {
    longest = Math.max(longest, out.length);
    frames += out.length / 108;
    pair.agent.receive(out, pair.now);
  }
  t.true(longest <= MESSAGE_BYTES);
  t.is(frames, 300);
  t.is(pair.layer.counters.messagesOut - before, 1);
});

test('control and calls overtake bulk that was written before', (t) => {
  const pair = new Pair().settle();
  const bulk = pair.open('tcp');
  const call = pair.open('call');
  pair.settle();
  bulk.stream.write(new Uint8Array(200_000));
  call.stream.write(new Uint8Array(10));
  pair.open('tcp');
  const first = pair.layer.transmit(pair.now);
  t.is(first?.[0], FRAME.open);
  t.is(first?.length, 8 + 9 + 18, 'OPEN, then the bytes of the call, and no bulk');
});

test('datagrams overtake bulk but do not starve it', (t) => {
  const pair = new Pair().settle();
  const bulk = pair.open('tcp');
  const udp = Array.from({length: 4}, () => pair.open('udp'));
  pair.settle();
  bulk.stream.write(new Uint8Array(200_000));
  for (const {stream} of udp) {
    for (let count = 0; count < 100; count++) stream.sendDatagram(new Uint8Array(1000));
  }
  const kinds: string[] = [];
  for (let out = pair.layer.transmit(pair.now); out; out = pair.layer.transmit(pair.now)) {
    kinds.push(out[0] === FRAME.data ? 'bulk' : 'datagrams');
    pair.agent.receive(out, pair.now);
  }
  t.is(kinds[0], 'datagrams');
  t.true(kinds.indexOf('bulk') < kinds.lastIndexOf('datagrams'));
  t.is(pair.offered.flatMap(({ear}) => ear.datagrams).length, 400);
});

test('bulk streams share by bytes, whether they write little or much at a time', (t) => {
  const pair = new Pair().settle();
  const large = pair.open();
  const small = pair.open();
  pair.settle();
  for (let count = 0; count < 250; count++) {
    large.stream.write(new Uint8Array(1000));
    small.stream.write(new Uint8Array(1000));
  }
  const sent = new Map<number, number>();
  for (let left = 120_000; left > 0; ) {
    const out = pair.layer.transmit(pair.now);
    if (out === undefined) break;
    const id = new DataView(out.buffer, out.byteOffset).getUint32(4);
    sent.set(id, (sent.get(id) ?? 0) + out.length);
    left -= out.length;
  }
  const shares = [...sent.values()];
  t.is(shares.length, 2);
  t.true(Math.abs((shares[0] ?? 0) - (shares[1] ?? 0)) <= MESSAGE_BYTES);
});

test('a stream whose reader stalls does not delay another one', (t) => {
  const stalled = new Ear({consume: false});
  const pair = new Pair({
    onOpen(stream, body) {
      const ear = body[0] === 1 ? stalled : new Ear();
      ear.stream = stream;
      stream.handler = ear;
      pair.offered.push({stream, body, ear});
      stream.accept(NONE);
    },
  }).settle();
  const one = pair.open('tcp', new Uint8Array([1]));
  const other = pair.open('tcp', new Uint8Array([2]));
  pair.settle();
  feed(one.stream, one.ear, new Uint8Array(2_000_000));
  const bytes = pattern(2_000_000);
  feed(other.stream, other.ear, bytes, () => other.stream.end());
  pair.settle();
  t.is(stalled.received, 262_144, 'all that was granted, and no more');
  t.true(pair.offered[1]?.ear.bytes.equals(bytes));
  t.deepEqual(pair.offered[1]?.ear.events, ['end']);
  stalled.stream?.consumed(stalled.received);
  pair.settle();
  t.is(stalled.received, 262_144 + 524_288, 'consuming moves it on, by a window twice as large');
});

test('a slow connection bounds what waits, although all peers grant more', (t) => {
  const pair = new Pair({
    layer: {limits: {}},
    onOpen: (stream) => stream.accept(NONE, 8_388_608),
  }).settle();
  const streams = Array.from({length: 200}, () => pair.open());
  pair.settle();
  const bytes = new Uint8Array(8_388_608);
  for (const {stream, ear} of streams) feed(stream, ear, bytes);
  t.true(pair.layer.queuedBytes > 33_554_432);
  t.true(pair.layer.queuedBytes <= 33_554_432 + 524_288 * 201, `${pair.layer.queuedBytes}`);
});

test('late datagrams are dropped and counted, and so are those above the queue', (t) => {
  const pair = new Pair().settle();
  const {stream} = pair.open('udp');
  pair.settle();
  const taken = Array.from({length: 1026}, () => stream.sendDatagram(new Uint8Array(10)));
  t.is(taken.indexOf(false), 1024, 'whoever sends is told');
  t.is(pair.layer.counters.datagramsDroppedFull, 2);
  // The driver looks at the clock, but the connection takes nothing.
  pair.layer.poll(pair.now);
  pair.settle();
  t.is(pair.offered[0]?.ear.datagrams.length, 1024);
  stream.sendDatagram(new Uint8Array([1]));
  pair.layer.poll(pair.now);
  stream.sendDatagram(new Uint8Array([2]));
  pair.now += 1001;
  pair.settle();
  t.is(pair.layer.counters.datagramsDroppedLate, 1);
});

test('an idle tunnel does not take its first datagram for a late one', (t) => {
  const pair = new Pair().settle();
  const {stream} = pair.open('udp');
  pair.settle();
  stream.sendDatagram(new Uint8Array([1]));
  pair.now += 5000;
  pair.settle();
  t.is(pair.offered[0]?.ear.datagrams.length, 1);
});

test('datagrams that a stream gives together leave together, in order, among those of others', (t) => {
  const pair = new Pair().settle();
  const streams = [1, 2].map(() => pair.open('udp').stream);
  pair.settle();
  const before = pair.layer.counters.messagesOut;
  const all = Array.from({length: 200}, (_, index) => pattern(index * 5, index));
  for (const datagram of all) for (const stream of streams) stream.sendDatagram(datagram);
  pair.settle();
  for (const {ear} of pair.offered)
    t.deepEqual(ear.datagrams.map(Buffer.from), all.map(Buffer.from));
  t.true(pair.layer.counters.messagesOut - before < 60, '400 datagrams of 200 KB');
});

test('a datagram keeps its boundaries, the empty one too', (t) => {
  const pair = new Pair().settle();
  const {stream} = pair.open('udp');
  stream.sendDatagram(NONE);
  stream.sendDatagram(new Uint8Array([3]), new Uint8Array([1, 2]));
  // The most that UDP over IPv6 carries, with an address in front.
  stream.sendDatagram(new Uint8Array(65_527), new Uint8Array(19));
  stream.sendDatagram(new Uint8Array(DATAGRAM_BYTES + 1));
  pair.settle();
  const {datagrams} = pair.there(0).ear;
  t.deepEqual(
    datagrams.map(({length}) => length),
    [0, 3, 65_546],
  );
  t.deepEqual([...(datagrams[1] ?? [])], [1, 2, 3]);
  t.is(pair.layer.counters.datagramsDroppedFull, 1);
});

test('above the limit of streams the opener is told EAGAIN, and the tunnel lives', (t) => {
  const pair = new Pair({agent: {limits: {streams: 3}}}).settle();
  const ears = Array.from({length: 5}, () => {
    const {stream, ear} = pair.open('udp');
    stream.sendDatagram(new Uint8Array(1));
    return ear;
  });
  t.deepEqual(ears[4]?.events, [], 'not from within open');
  pair.settle();
  t.deepEqual(
    ears.map(({events}) => events[0]),
    ['opened', 'opened', 'opened', 'refused EAGAIN', 'refused EAGAIN'],
  );
  t.deepEqual(pair.closed, {});
});

test('closing resets every stream, then tells both handlers', (t) => {
  const pair = new Pair().settle();
  const {ear} = pair.open();
  pair.settle();
  pair.agent.close('TARGET_GONE');
  pair.settle();
  t.deepEqual(ear.events, ['opened', 'reset ECONNRESET']);
  t.deepEqual(pair.closed, {agent: 'TARGET_GONE', layer: 'TARGET_GONE'});
  t.throws(() => pair.open(), {message: /connection under the tunnel/});
  t.is(pair.layer.pollAt(), undefined);
});

test('disposing closes in good order', (t) => {
  const pair = new Pair().settle();
  pair.layer[Symbol.dispose]();
  pair.settle();
  t.deepEqual(pair.closed, {agent: 'NO_ERROR', layer: 'NO_ERROR'});
});

test('what a handler throws comes out of receive', (t) => {
  const pair = new Pair({
    onOpen() {
      throw new TypeError('bug');
    },
  }).settle();
  pair.open();
  t.throws(() => pair.settle(), {instanceOf: TypeError});
});

test('frames for a stream that was reset here are ignored and counted', (t) => {
  const pair = new Pair().settle();
  const {stream} = pair.open();
  pair.settle();
  pair.offered[0]?.stream.write(new Uint8Array(10));
  stream.reset('ECONNRESET');
  pair.settle();
  t.is(pair.layer.counters.framesIgnored, 1);
  t.deepEqual(pair.closed, {});
});

test('memory given back by recycle is used again and never seen by the peer', (t) => {
  const random = seeded(3);
  const pair = new Pair().settle();
  const {stream, ear} = pair.open();
  pair.settle();
  const bytes = pattern(3_000_000);
  feed(stream, ear, bytes, () => stream.end());
  const buffers = new Set<ArrayBufferLike>();
  let messages = 0;
  for (let idle = 0; idle < 2; ) {
    const out = pair.layer.transmit(pair.now);
    const back = pair.agent.transmit(pair.now);
    if (back !== undefined) pair.layer.receive(back, pair.now);
    idle = out === undefined && back === undefined ? idle + 1 : 0;
    if (out === undefined) continue;
    messages++;
    buffers.add(out.buffer);
    pair.agent.receive(out.slice(), pair.now);
    if (random() < 0.9) pair.layer.recycle(out);
  }
  t.true(pair.offered[0]?.ear.bytes.equals(bytes));
  t.true(buffers.size < messages, `${buffers.size} buffers for ${messages} messages`);
});

test('any schedule of any streams delivers exactly the bytes', (t) => {
  const plan = fc.array(
    fc.record({
      up: fc.integer({min: 0, max: 400_000}),
      down: fc.integer({min: 0, max: 400_000}),
      chunk: fc.oneof(fc.integer({min: 1, max: 200}), fc.integer({min: 200, max: 80_000})),
      lag: fc.nat(200_000),
    }),
    {minLength: 1, maxLength: 6},
  );
  holds(
    t,
    fc.property(plan, fc.nat(), (plans, seed) => run(plans.map(clip), seed)),
    {numRuns: 40},
  );
});

/** Small chunks of much data would only take long. */
function clip(plan: Plan): Plan {
  const most = plan.chunk * 500;
  return {...plan, up: Math.min(plan.up, most), down: Math.min(plan.down, most)};
}

interface Plan {
  up: number;
  down: number;
  chunk: number;
  lag: number;
}

/** One side of a stream: sends `bytes` in chunks, consumes with a lag, and ends. */
class Party extends Ear {
  readonly #bytes: Uint8Array;
  readonly #plan: Plan;
  #offset = 0;

  constructor(bytes: Uint8Array, plan: Plan) {
    super({consume: false});
    this.#bytes = bytes;
    this.#plan = plan;
  }

  step(random: () => number): boolean {
    const stream = this.stream;
    if (stream === undefined) return false;
    const before = this.#offset;
    const count = Math.min(
      stream.writable,
      this.#bytes.length - this.#offset,
      Math.ceil(random() * this.#plan.chunk),
    );
    if (count > 0) stream.write(this.#bytes.subarray(this.#offset, this.#offset + count));
    this.#offset += Math.max(0, count);
    if (this.#offset === this.#bytes.length && stream.writable > 0) stream.end();
    // A window of 64 KiB would not move with a lag above half of it: the lag is given up in the end.
    const lag = random() < 0.1 ? 0 : this.#plan.lag;
    stream.consumed(Math.max(0, this.received - lag));
    return this.#offset > before;
  }
}

function run(plans: Plan[], seed: number): void {
  const random = seeded(seed);
  const parties: Party[] = [];
  const there: Party[] = [];
  const pair = new Pair({
    agent: {windowBudgetBytes: 1_000_000},
    onOpen(stream, body) {
      const index = body[0] ?? 0;
      const plan = plans[index] ?? fail();
      const party = new Party(pattern(plan.down, index), plan);
      party.stream = stream;
      stream.handler = party;
      there[index] = party;
      stream.accept(NONE, 65_536);
    },
  });
  for (const [index, plan] of plans.entries()) {
    const party = new Party(pattern(plan.up, 100 + index), plan);
    party.stream = pair.layer.open('tcp', new Uint8Array([index]), party, 65_536);
    parties.push(party);
  }
  const wires: [Mux, Mux, Uint8Array[]][] = [
    [pair.layer, pair.agent, []],
    [pair.agent, pair.layer, []],
  ];
  for (let idle = 0; idle < 500; ) {
    let isMoving = false;
    for (const party of [...parties, ...there]) {
      if (party !== undefined && random() < 0.6) isMoving = party.step(random) || isMoving;
    }
    for (const [from, to, wire] of wires) {
      if (random() < 0.7) {
        const out = from.transmit(pair.now);
        if (out !== undefined) wire.push(out);
      }
      if (random() < 0.7) {
        const message = wire.shift();
        if (message !== undefined) to.receive(message, pair.now);
      }
      isMoving ||= wire.length > 0;
    }
    pair.now += random();
    idle = isMoving ? 0 : idle + 1;
  }
  assert.deepEqual(pair.closed, {});
  for (const [index, plan] of plans.entries()) {
    assert.ok(there[index]?.bytes.equals(pattern(plan.up, 100 + index)));
    assert.ok(parties[index]?.bytes.equals(pattern(plan.down, index)));
    assert.deepEqual(parties[index]?.events, ['opened', 'end', 'close']);
  }
  assert.equal(pair.layer.streamCount + pair.agent.streamCount, 0);
  assert.equal(pair.layer.windowBytes + pair.agent.windowBytes, 0);
  assert.equal(pair.layer.queuedBytes + pair.agent.queuedBytes, 0);
}

function fail(): never {
  throw new Error('a stream of no plan');
}

test('every end of a tunnel gives all its memory back', (t) => {
  const pair = new Pair().settle();
  for (let count = 0; count < 10; count++) {
    const {stream} = pair.open();
    pair.settle();
    stream.write(new Uint8Array(1000));
  }
  pair.layer.close();
  pair.settle();
  for (const mux of [pair.layer, pair.agent]) {
    t.deepEqual([mux.streamCount, mux.windowBytes, mux.queuedBytes], [0, 0, 0]);
  }
});

test('a token of another length is a mistake of the caller', (t) => {
  const options = {role: 'agent', token: TOKEN.subarray(1), random: seeded(1)} as const;
  t.throws(() => new Mux(options, {}), {instanceOf: RangeError});
});

test('a PING is answered with its bytes ahead of bulk', (t) => {
  const pair = new Pair().settle();
  const {stream} = pair.open();
  pair.settle();
  stream.write(new Uint8Array(200_000));
  pair.layer.receive(emitPing(FRAME.ping, new Uint8Array(8).fill(3)), pair.now);
  t.deepEqual(
    pair.layer.transmit(pair.now)?.slice(0, 16),
    emitPing(FRAME.pong, new Uint8Array(8).fill(3)),
  );
});
