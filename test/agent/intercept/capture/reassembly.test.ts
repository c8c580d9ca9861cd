/** Captured segments, in whatever order and pieces, become what the client sent. */

import test from 'ava';
import fc from 'fast-check';
import {ACK, FIN, RST, Segment, SYN} from '../../../../agent/intercept/capture/segment.ts';
import {type Copy, MOST_OPEN, Tracker} from '../../../../agent/intercept/capture/tracker.ts';

const HEADERS = {4: 20, 6: 40} as const;
const PORT = 80;
const POD = {address: Uint8Array.of(10, 2, 0, 0), port: PORT};

interface Wire {
  readonly family?: 4 | 6;
  readonly peerPort?: number;
  readonly isOutgoing?: boolean;
  readonly sequence: number;
  readonly flags: number;
  readonly payload?: Uint8Array;
}

/** A packet as the kernel has it. */
function packet({family = 4, peerPort = 5_000, isOutgoing = false, ...rest}: Wire): Uint8Array {
  const {sequence, flags, payload = new Uint8Array(0)} = rest;
  const ip = HEADERS[family];
  const bytes = new Uint8Array(ip + 20 + payload.length);
  const view = new DataView(bytes.buffer);
  const ends = [[10, 1] as const, [10, 2] as const];
  const [from, to] = isOutgoing ? ends.toReversed() : ends;
  if (family === 4) {
    bytes.set([0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6]);
    view.setUint16(2, bytes.length);
    bytes.set(from ?? [], 12);
    bytes.set(to ?? [], 16);
  } else {
    bytes.set([0x60, 0, 0, 0, 0, 0, 6, 64]);
    view.setUint16(4, bytes.length - ip);
    bytes.set(from ?? [], 8);
    bytes.set(to ?? [], 24);
  }
  view.setUint16(ip, isOutgoing ? PORT : peerPort);
  view.setUint16(ip + 2, isOutgoing ? peerPort : PORT);
  view.setUint32(ip + 4, sequence);
  bytes.set([0x50, flags], ip + 12);
  bytes.set(payload, ip + 20);
  return bytes;
}

/** A copy that keeps everything. */
class Kept implements Copy {
  readonly chunks: Uint8Array[] = [];
  readonly ends: string[] = [];
  isAlive = true;
  write(bytes: Uint8Array): void {
    this.chunks.push(bytes);
  }
  end(): void {
    this.ends.push('end');
  }
  reset(): void {
    this.ends.push('reset');
  }
  cutOff(): void {
    this.ends.push('cut off');
  }
  get bytes(): Buffer {
    return Buffer.concat(this.chunks);
  }
}

function world({hasLost = (): boolean => false, isApplications = true} = {}) {
  const copies: Kept[] = [];
  const refused: number[] = [];
  const unwanted: number[] = [];
  const boundaries: number[] = [];
  const tracker = new Tracker({
    isApplications: () => isApplications,
    open() {
      const copy = new Kept();
      copies.push(copy);
      return copy;
    },
    onUnwanted: ({peer}) => void unwanted.push(peer.port),
    onBoundary: ({peer}) => void boundaries.push(peer.port),
    hasLost,
    onOverLimit: (port) => void refused.push(port),
  });
  const segment = new Segment();
  const take = (bytes: Uint8Array, isOutgoing = false, nowMs = 0): boolean => {
    if (!segment.read(bytes, 0, bytes.length)) return false;
    tracker.take(segment, bytes, {isOutgoing, isLoopback: false}, nowMs);
    return true;
  };
  return {
    tracker,
    copies,
    refused,
    unwanted,
    boundaries,
    take,
    send: (wire: Wire, nowMs = 0) => take(packet(wire), wire.isOutgoing, nowMs),
  };
}

const sequenceNumber = fc.oneof(
  fc.integer({min: 0, max: 0xffff_ffff}),
  fc.integer({min: 0xffff_ff00, max: 0xffff_ffff}),
);
const data = fc.uint8Array({minLength: 1, maxLength: 300});

/** Pieces of some bytes, of any size, more than once, overlapping and in any order, that cover all of them. */
const pieces = data.chain((bytes) => {
  const range = fc
    .tuple(fc.nat(bytes.length), fc.nat(bytes.length))
    .map(([one, other]) => [Math.min(one, other), Math.max(one, other)] as const);
  const cuts = fc.uniqueArray(fc.nat(bytes.length), {maxLength: 20}).map((all) => {
    const places = [0, ...all.toSorted((one, other) => one - other), bytes.length];
    return places.slice(1).map((end, at) => [places[at] ?? 0, end] as const);
  });
  return fc
    .tuple(cuts, fc.array(range, {maxLength: 20}))
    .chain(([needed, more]) =>
      fc.shuffledSubarray([...needed, ...more], {minLength: needed.length + more.length}),
    )
    .map((order) => ({bytes, order}));
});

test('any pieces in any order, with any first number, are the bytes once, and end once', (t) => {
  fc.assert(
    fc.property(
      pieces,
      sequenceNumber,
      fc.constantFrom(4, 6),
      fc.boolean(),
      (sent, first, family, isFinEarly) => {
        const {tracker, copies, send} = world();
        const {bytes, order} = sent;
        send({family, sequence: first, flags: SYN});
        send({family, sequence: first, flags: SYN});
        t.is(copies.length, 0, 'not before the client has answered');
        send({family, sequence: first + 1, flags: ACK});
        const fin = {family, sequence: first + 1 + bytes.length, flags: FIN | ACK};
        if (isFinEarly) send(fin);
        for (const [from, to] of order) {
          send({family, sequence: first + 1 + from, flags: ACK, payload: bytes.subarray(from, to)});
        }
        send(fin);
        t.deepEqual(copies[0]?.bytes, Buffer.from(bytes));
        t.deepEqual(copies[0]?.ends, ['end']);
        t.is(copies.length, 1);
        t.is(tracker.openCount, 0);
        t.is(tracker.waitingBytes, 0);
        t.deepEqual([...tracker.ports], []);
      },
    ),
  );
});

test('behind what is missing nothing is copied, and in the end it is cut off', (t) => {
  fc.assert(
    fc.property(pieces, fc.nat(), sequenceNumber, ({bytes, order}, at, first) => {
      const {tracker, copies, send} = world();
      const missing = at % bytes.length;
      send({sequence: first, flags: SYN});
      send({sequence: first + 1, flags: ACK});
      const there = order.filter(([from, to]) => missing < from || missing >= to);
      for (const [from, to] of there) {
        send({sequence: first + 1 + from, flags: ACK, payload: bytes.subarray(from, to)});
      }
      send({sequence: first + 1 + bytes.length, flags: FIN | ACK});
      const [copy] = copies;
      t.true(Buffer.from(bytes.subarray(0, missing)).indexOf(copy?.bytes ?? '') === 0);
      t.deepEqual(copy?.ends, []);
      tracker.sweep(9_999);
      t.deepEqual(copy?.ends, [], 'it may only be late');
      tracker.sweep(10_000);
      t.deepEqual(copy?.ends, ['cut off']);
      t.is(tracker.waitingBytes, 0);
    }),
  );
});

test('what is missing when the ring was full is not waited for', (t) => {
  let isFull = false;
  const {copies, send} = world({hasLost: () => isFull});
  send({sequence: 0, flags: SYN});
  send({sequence: 1, flags: ACK});
  send({sequence: 3, flags: ACK, payload: Uint8Array.of(3)});
  t.deepEqual(copies[0]?.ends, []);
  send({sequence: 1, flags: ACK, payload: Uint8Array.of(1, 2)});
  t.deepEqual([...(copies[0]?.bytes ?? [])], [1, 2, 3]);
  isFull = true;
  send({sequence: 5, flags: ACK, payload: Uint8Array.of(5)});
  t.deepEqual(copies[0]?.ends, ['cut off']);
});

test('a client that reads ahead of what is missing is cut off at 2 MiB', (t) => {
  const {tracker, copies, send} = world();
  send({sequence: 0, flags: SYN});
  send({sequence: 1, flags: ACK});
  const payload = new Uint8Array(32_768);
  for (let sequence = 2; sequence < 1 << 21; sequence += payload.length) {
    send({sequence, flags: ACK, payload});
  }
  t.is(tracker.waitingBytes, 1 << 21);
  send({sequence: 2 + (1 << 21), flags: ACK, payload});
  t.deepEqual(copies[0]?.ends, ['cut off']);
  t.is(tracker.waitingBytes, 0);
});

test('resets: the application’s, and the client’s where TCP would take it', (t) => {
  const {copies, send} = world();
  const open = (peerPort: number): Kept | undefined => {
    send({peerPort, sequence: 9, flags: SYN});
    send({peerPort, sequence: 10, flags: ACK, payload: Uint8Array.of(1)});
    return copies.at(-1);
  };
  const [one, other] = [open(1), open(2)];
  send({peerPort: 1, isOutgoing: true, sequence: 77, flags: RST});
  send({peerPort: 1, isOutgoing: true, sequence: 77, flags: RST});
  t.deepEqual(one?.ends, ['reset']);
  send({peerPort: 2, sequence: 10, flags: RST});
  send({peerPort: 2, sequence: 5_000, flags: RST});
  t.deepEqual(other?.ends, []);
  send({peerPort: 2, sequence: 11, flags: RST});
  t.deepEqual(other?.ends, ['reset']);
});

test('a SYN that is refused, or whose answer never comes, is no connection', (t) => {
  const {tracker, copies, send} = world();
  send({sequence: 0, flags: SYN});
  send({sequence: 0, isOutgoing: true, flags: RST | ACK});
  send({sequence: 1, flags: ACK});
  t.is(tracker.counters.strays, 1);
  send({sequence: 0, flags: SYN});
  tracker.sweep(10_000);
  send({sequence: 1, flags: ACK});
  t.is(tracker.counters.strays, 2);
  for (let peerPort = 1; peerPort <= 10_000; peerPort++) send({peerPort, sequence: 0, flags: SYN});
  t.is(tracker.counters.handshakesForgotten, 10_000 - 4_096);
  t.is(copies.length, 0);
});

test('a client whose end was lost, and that comes again from the same port, is another one', (t) => {
  const {copies, send} = world();
  send({sequence: 0, flags: SYN});
  send({sequence: 1, flags: ACK, payload: Uint8Array.of(1)});
  send({sequence: 500, flags: SYN});
  send({sequence: 2, flags: ACK, payload: Uint8Array.of(2)});
  t.deepEqual([...(copies[0]?.bytes ?? [])], [1, 2], 'a SYN alone is nothing');
  send({sequence: 501, flags: ACK});
  send({sequence: 501, flags: ACK, payload: Uint8Array.of(3)});
  t.deepEqual(copies[0]?.ends, ['reset']);
  t.deepEqual([...(copies[1]?.bytes ?? [])], [3]);
});

test('what a proxy takes is forgotten, and not asked for again, whatever comes of it', (t) => {
  const {tracker, copies, send} = world({isApplications: false});
  send({sequence: 99, flags: SYN});
  send({sequence: 100, flags: ACK});
  send({sequence: 100, flags: ACK, payload: Buffer.from('GET / HTTP/1.1\r\n\r\n')});
  send({isOutgoing: true, sequence: 1, flags: RST});
  t.is(copies.length, 0);
  t.like(tracker.counters, {elsewhere: 1, strays: 1, connections: 0});
  t.false(tracker.isReachedFromOutside(PORT));
});

test('it is known while anything from outside is the application’s', (t) => {
  const {tracker, send} = world();
  for (const peerPort of [1, 2]) {
    send({peerPort, sequence: 99, flags: SYN});
    send({peerPort, sequence: 100, flags: ACK});
  }
  t.true(tracker.isReachedFromOutside(PORT));
  send({peerPort: 1, sequence: 100, flags: FIN | ACK});
  t.true(tracker.isReachedFromOutside(PORT));
  send({peerPort: 2, sequence: 100, flags: RST});
  t.false(tracker.isReachedFromOutside(PORT));
});

test('above the limit connections are not copied, until there are fewer', (t) => {
  const {tracker, copies, refused, send} = world();
  const open = (peerPort: number): void => {
    send({peerPort, sequence: 0, flags: SYN});
    send({peerPort, sequence: 1, flags: ACK});
  };
  for (let peerPort = 1; peerPort <= MOST_OPEN + 1; peerPort++) open(peerPort);
  t.is(copies.length, MOST_OPEN);
  t.deepEqual(refused, [PORT]);
  send({peerPort: 1, sequence: 1, flags: FIN | ACK});
  open(MOST_OPEN + 1);
  t.is(copies.length, MOST_OPEN + 1);
  t.is(tracker.openCount, MOST_OPEN);
});

test('what nobody takes any more is not put in order, and told of when there is much of it', (t) => {
  const {tracker, copies, unwanted, boundaries, send} = world();
  send({sequence: 0, flags: SYN});
  send({sequence: 1, flags: ACK});
  const [copy] = copies;
  if (copy !== undefined) copy.isAlive = false;
  send({sequence: 1, flags: ACK, payload: Uint8Array.of(1)});
  t.is(tracker.openCount, 0);
  t.deepEqual(copy?.chunks, []);
  const payload = new Uint8Array(60_000);
  for (let at = 0; at < 209; at++) send({sequence: at * payload.length, flags: ACK, payload});
  t.deepEqual(unwanted, []);
  send({sequence: 0, flags: ACK, payload});
  t.deepEqual(unwanted, [5_000], 'at 12 MiB');
  send({sequence: 0, flags: ACK, payload});
  t.is(tracker.counters.strays, 1, 'nothing is known of it any more');
  send({sequence: 0, flags: FIN | ACK});
  send({sequence: 9, flags: SYN});
  send({sequence: 10, flags: ACK});
  t.deepEqual(boundaries, [5_000, 5_000, 5_000]);
  t.is(copies.length, 2, 'another connection');
});

test('a copy begins in the middle with a request of HTTP/1, and with nothing else', (t) => {
  const {tracker, copies, send} = world();
  const request = Buffer.from('GET /1 HTTP/1.1\r\n\r\n');
  const peer = {address: Uint8Array.of(10, 1, 0, 0), port: 5_000};
  tracker.standing({peer, local: POD}, false, 0);
  send({sequence: 90, flags: ACK, payload: Buffer.from('body')});
  send({sequence: 94, flags: ACK, payload: Buffer.from('GET /half')});
  t.is(copies.length, 0);
  send({sequence: 100, flags: ACK, payload: request});
  send({sequence: 100 + request.length, flags: ACK, payload: Buffer.from('more')});
  const [first] = copies;
  t.is(`${first?.bytes}`, `${request}more`);
  if (first !== undefined) first.isAlive = false;
  send({sequence: 200, flags: ACK, payload: Buffer.from('rest')});
  send({sequence: 204, flags: ACK, payload: request});
  send({sequence: 204 + request.length, flags: FIN | ACK});
  t.is(`${copies[1]?.bytes}`, `${request}`, 'its program has closed the first');
  t.deepEqual(copies[1]?.ends, ['end']);
  send({peerPort: 5_001, sequence: 1, flags: ACK, payload: request});
  t.is(copies.length, 2, 'nothing is known of this one');
  t.is(tracker.openCount, 0);
});

test('of connections that nobody takes only so many are known', (t) => {
  const {tracker, copies, send} = world();
  for (let peerPort = 1; peerPort <= 2_000; peerPort++) {
    send({peerPort, sequence: 0, flags: SYN});
    send({peerPort, sequence: 1, flags: ACK});
    for (const copy of copies) copy.isAlive = false;
    send({peerPort, sequence: 1, flags: ACK});
  }
  t.is(tracker.unwantedCount, 1_024);
  for (let peerPort = 1; peerPort <= 2_000; peerPort++) {
    send({peerPort, sequence: 1, flags: FIN | ACK});
  }
  t.is(tracker.unwantedCount, 0);
});

test('headers: options, what fills a frame up, lengths above 64 KiB, and what is no whole segment', (t) => {
  const segment = new Segment();
  const read = (bytes: Uint8Array): boolean => segment.read(bytes, 0, bytes.length);
  const payload = Uint8Array.of(1, 2, 3);
  const four = packet({sequence: 7, flags: ACK, payload});
  t.true(segment.read(Uint8Array.of(9, 9, ...four, 0, 0, 0), 2, four.length + 3));
  t.like(segment, {addressBytes: 4, sequence: 7, flags: ACK, payloadAt: 42, payloadBytes: 3});
  const large = packet({sequence: 7, flags: ACK, payload: new Uint8Array(100_000)});
  large.set([0, 0], 2);
  t.true(read(large));
  t.is(segment.payloadBytes, 100_000);
  const six = packet({family: 6, sequence: 7, flags: ACK, payload: new Uint8Array(100_000)});
  const jumbo = [6, 0, 0xc2, 4, 0, 1, 0x86, 0xb4];
  const withJumbo = Uint8Array.of(...six.subarray(0, 40), ...jumbo, ...six.subarray(40));
  withJumbo.set([0, 0, 0], 4);
  t.true(read(withJumbo));
  t.like(segment, {addressBytes: 16, sequence: 7, payloadAt: 68, payloadBytes: 100_000});
  for (const [at, byte] of [
    [0, 0x44],
    [0, 0x55],
    [6, 0x20],
    [9, 17],
    [3, 44],
    [32, 0x40],
    [32, 0xf0],
  ] as const) {
    const wrong = four.slice();
    wrong[at] = byte;
    t.false(read(wrong), `${byte} at ${at}`);
  }
});

test('whatever comes, nothing is thrown, and memory has its limits', (t) => {
  const wire = fc.record({
    peerPort: fc.integer({min: 1, max: 3}),
    isOutgoing: fc.boolean(),
    sequence: fc.oneof(fc.integer({min: 0, max: 40}), sequenceNumber),
    flags: fc.integer({min: 0, max: 255}),
    payload: fc.uint8Array({maxLength: 20}),
  });
  const change = fc.array(fc.tuple(fc.nat(60), fc.integer({min: 0, max: 255})), {maxLength: 3});
  const event = fc.tuple(wire, change, fc.nat(5_000));
  fc.assert(
    fc.property(fc.array(event, {maxLength: 200}), fc.boolean(), (events, isFull) => {
      const {tracker, copies, take} = world({hasLost: () => isFull});
      let nowMs = 0;
      for (const [sent, changes, ms] of events) {
        const bytes = packet(sent);
        for (const [at, byte] of changes) if (at < bytes.length) bytes[at] = byte;
        nowMs += ms;
        take(bytes, sent.isOutgoing, nowMs);
        if (ms % 7 === 0) tracker.sweep(nowMs);
      }
      t.true(copies.every(({ends}) => ends.length <= 1));
      const open = copies.filter(({ends}) => ends.length === 0).length;
      t.is(tracker.openCount, open);
      tracker.close();
      t.is(tracker.openCount, 0);
      t.is(tracker.waitingBytes, 0);
    }),
  );
});
