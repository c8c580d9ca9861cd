import test from 'ava';
import fc from 'fast-check';
import {
  type FrameEvents,
  FrameReader,
  writeFrameHeader,
} from '../../../../../agent/intercept/http/h2/frames.ts';
import {
  DATA,
  END_STREAM,
  FRAME_SIZE_ERROR,
  HEADERS,
  PADDED,
  PROTOCOL_ERROR,
} from '../../../../../agent/intercept/http/h2/protocol.ts';

interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly streamId: number;
  readonly payload: Buffer;
}

function emit({type, flags, streamId, payload}: Frame): Buffer {
  const head = Buffer.alloc(9);
  writeFrameHeader(head, 0, {length: payload.length, type, flags, streamId});
  return Buffer.concat([head, payload]);
}

/** What a reader tells of, with the parts of DATA put together again. */
class Heard implements FrameEvents {
  readonly frames: {
    type: number;
    streamId: number;
    payload: Buffer;
    flow: number;
    isEnd: boolean;
  }[] = [];
  broken: number | undefined;
  readonly raw: Buffer[] = [];
  /** Frames that were told of as a whole are where they say. */
  areInPlace = true;
  #isPart = false;

  onFrame(frame: FrameReader): void {
    const payload = Buffer.from(frame.bytes.subarray(frame.start, frame.end));
    const {type, streamId, flags, flowBytes} = frame;
    this.raw.push(Buffer.from(frame.bytes.subarray(frame.rawStart, frame.rawEnd)));
    if (frame.isWhole) {
      const id = frame.bytes.readUInt32BE(frame.rawStart + 5) & 0x7fff_ffff;
      this.areInPlace &&= id === streamId && frame.bytes[frame.rawStart + 3] === type;
    }
    const last = this.frames.at(-1);
    const isData = type === DATA;
    const isEnd = isData && (flags & END_STREAM) !== 0;
    if (isData && !frame.isWhole && this.#isPart && last?.streamId === streamId) {
      last.payload = Buffer.concat([last.payload, payload]);
      last.flow += flowBytes;
      last.isEnd = isEnd;
    } else this.frames.push({type, streamId, payload, flow: isData ? flowBytes : 0, isEnd});
    this.#isPart = isData && !frame.isWhole;
  }

  onBroken(code: number): void {
    this.broken = code;
  }
}

const frame = fc
  .record({
    type: fc.constantFrom(DATA, DATA, HEADERS, 6, 77),
    flags: fc.constantFrom(0, END_STREAM, PADDED, PADDED | END_STREAM),
    // Each has its own stream, so that parts are not taken for frames.
    streamId: fc.integer({min: 1, max: 0x7fff_ffff}),
    payload: fc.uint8Array({minLength: 1, maxLength: 300}).map((bytes) => Buffer.from(bytes)),
  })
  .map((one) => {
    if (one.type !== DATA || (one.flags & PADDED) === 0) return one;
    one.payload[0] = (one.payload[0] ?? 0) % one.payload.length;
    return one;
  });

function expected({type, flags, streamId, payload}: Frame) {
  const isData = type === DATA;
  const isPadded = isData && (flags & PADDED) !== 0;
  return {
    type,
    streamId,
    payload: isPadded ? payload.subarray(1, payload.length - (payload[0] ?? 0)) : payload,
    flow: isData ? payload.length : 0,
    isEnd: isData && (flags & END_STREAM) !== 0,
  };
}

test('any cutting of frames tells of the same frames, and of the same bytes of DATA', (t) => {
  fc.assert(
    fc.property(
      fc.uniqueArray(frame, {selector: ({streamId}) => streamId, maxLength: 12}),
      fc.array(fc.double({min: 0, max: 1, noNaN: true}), {maxLength: 30}),
      (frames, cuts) => {
        const bytes = Buffer.concat(frames.map(emit));
        const heard = new Heard();
        const reader = new FrameReader(heard);
        const places = cuts.map((share) => Math.floor(share * bytes.length)).sort((a, b) => a - b);
        let from = 0;
        for (const place of [...places, bytes.length]) {
          // What was lent is gone afterwards.
          const lent = Buffer.from(bytes.subarray(from, place));
          reader.push(lent);
          lent.fill(0xa5);
          from = place;
        }
        t.deepEqual(heard.frames, frames.map(expected));
        t.true(heard.areInPlace);
        t.deepEqual(Buffer.concat(heard.raw), bytes);
        t.true(reader.isBetweenFrames);
        t.is(heard.broken, undefined);
      },
    ),
    {numRuns: 500},
  );
});

test('byte by byte is the same as at once', (t) => {
  const frames = [
    {type: DATA, flags: PADDED, streamId: 1, payload: Buffer.from([3, 65, 0, 0, 0])},
    {type: DATA, flags: PADDED | END_STREAM, streamId: 3, payload: Buffer.from([0])},
    {type: DATA, flags: END_STREAM, streamId: 5, payload: Buffer.alloc(0)},
    {type: HEADERS, flags: 4, streamId: 7, payload: Buffer.from('block')},
  ];
  const heard = new Heard();
  const reader = new FrameReader(heard);
  for (const byte of Buffer.concat(frames.map(emit))) reader.push(Buffer.from([byte]));
  t.deepEqual(
    heard.frames.map(({payload, flow, isEnd}) => [payload.toString('latin1'), flow, isEnd]),
    [
      ['A', 5, false],
      ['', 1, true],
      ['', 0, true],
      ['block', 0, false],
    ],
  );
});

for (const [what, bytes, code] of [
  ['a frame that is larger than was said', '004001 00 00 00000001', FRAME_SIZE_ERROR],
  ['padding as long as its frame', '000002 00 08 00000001 02', PROTOCOL_ERROR],
  ['padding without a length', '000000 00 08 00000001', FRAME_SIZE_ERROR],
] as const) {
  test(`${what} breaks the connection, and nothing behind it is read`, (t) => {
    const heard = new Heard();
    const reader = new FrameReader(heard);
    const said = Buffer.from(`${bytes}00000000000000`.replaceAll(' ', ''), 'hex');
    reader.push(said);
    t.deepEqual(said.subarray(reader.consumed), said);
    reader.push(Buffer.alloc(100));
    t.is(heard.broken, code);
    t.deepEqual(heard.frames, []);
  });
}

test('whatever comes, and wherever it is cut or stops, no byte is lost', (t) => {
  const any = fc.oneof(
    frame.map(emit),
    fc.uint8Array({maxLength: 60}).map((bytes) => Buffer.from(bytes)),
  );
  fc.assert(
    fc.property(
      fc.array(any, {maxLength: 12}),
      fc.array(fc.integer({min: 1, max: 200}), {minLength: 1, maxLength: 8}),
      fc.nat(20),
      (all, cuts, pausedAt) => {
        const bytes = Buffer.concat(all);
        const heard = new Heard();
        const reader: FrameReader = new FrameReader({
          onFrame(one) {
            heard.onFrame(one);
            if (heard.raw.length === pausedAt) reader.pause();
          },
          onBroken: (code) => heard.onBroken(code),
        });
        let at = 0;
        for (let step = 0; at < bytes.length; step++) {
          const chunk = Buffer.from(bytes.subarray(at, at + (cuts[step % cuts.length] ?? 1)));
          reader.push(chunk);
          at += reader.consumed;
          if (reader.consumed < chunk.length) break;
          chunk.fill(0xa5);
        }
        t.deepEqual(
          Buffer.concat([...heard.raw, reader.takeKept(), bytes.subarray(at)]).toString('hex'),
          bytes.toString('hex'),
        );
        t.true(at === bytes.length || heard.broken !== undefined || heard.raw.length >= pausedAt);
      },
    ),
    {numRuns: 2000},
  );
});

test('no bytes make the reader keep more than a frame, or fail', (t) => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({maxLength: 100}), {maxLength: 20}), (chunks) => {
      const reader = new FrameReader(new Heard());
      t.notThrows(() => {
        for (const chunk of chunks) reader.push(Buffer.from(chunk));
      });
    }),
    {numRuns: 2000},
  );
});
