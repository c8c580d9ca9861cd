/** What a process that stands by passes on of HTTP/2 that programs had streams of: by properties, of its own code. */

import {execFileSync} from 'node:child_process';
import {mkdtempSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import test from 'ava';
import fc from 'fast-check';

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'mirrord-frames-'));
const driver = join(directory, 'driver');
const native = here('../../layer/native');
const sources = [here('forwarding-frames.c'), join(native, 'forwarding-frames.c')];
const checks = ['-std=c17', '-O1', '-g', '-fsanitize=address,undefined', '-fno-sanitize-recover'];
execFileSync('cc', [...checks, '-Wall', '-Werror', '-I', native, ...sources, '-o', driver]);
test.after.always(() => rmSync(directory, {recursive: true}));

const [DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY] = [
  0, 1, 2, 3, 4, 6, 7,
] as const;
const [WINDOW_UPDATE, CONTINUATION, UNKNOWN] = [8, 9, 99] as const;
const NO_RESET = 0xffff;
const NO_WINDOW = 0xffff_ffff;
const [BETWEEN, PASSES, IS_A_FRAME, IS_DROPPED] = [0, 1, 2, 3] as const;
const [SILENT, PASSING, TO_COME] = [0, 1, 2] as const;
/** A stream of which the client may send more than the application takes: its numbers, and what that takes. */
const TRACKED = {ofClient: 5, ofApplication: 15, window: 20, debt: 30};

interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

function bytesOf({type, flags, stream, payload}: Frame): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

function framesOf(bytes: Buffer): Frame[] {
  const frames: Frame[] = [];
  for (let at = 0; at + 9 <= bytes.length; ) {
    const end = at + 9 + bytes.readUIntBE(at, 3);
    const [type = 0, flags = 0] = [bytes[at + 3], bytes[at + 4]];
    const stream = bytes.readUInt32BE(at + 5);
    // What is not whole is the rest that the end of the input has cut off.
    frames.push({type, flags, stream, payload: bytes.subarray(at + 9, end)});
    at = end;
  }
  return frames;
}

interface Rest {
  readonly rest: number;
  readonly payload: Buffer;
  readonly paddingBytes: number;
}

interface Direction {
  readonly window: number;
  readonly debt: number;
  readonly untold: number;
  readonly rest: Rest;
  readonly frames: readonly Frame[];
}

/** A division: which streams it tells of, and what each is called at the other end; 0: it does not pass. */
interface Numbers {
  readonly isRenumbered: boolean;
  readonly lastOfClient: number;
  readonly lastOfApplication: number;
  /** By the client's number and the application's; whether they pass; what either is told; the window, and a debt. */
  readonly told: readonly (readonly [number, number, number, number, number, number?, number?])[];
  readonly isTracked: boolean;
  /** Streams that the client has not begun. */
  readonly idle: readonly number[];
  readonly up: Readonly<Record<number, number>>;
  readonly down: Readonly<Record<number, number>>;
  /** What becomes of the last stream that a GOAWAY of the application's names. */
  readonly lasts: Readonly<Record<number, number>>;
}

const [FIRST, LAST, NEXT, ALL] = [5, 17, 21, 0x7fffffff] as const;

const oneNumber: Numbers = {
  isRenumbered: false,
  lastOfClient: 13,
  lastOfApplication: 9,
  told: [
    [3, 0, SILENT, 7, NO_RESET],
    [9, 9, SILENT, NO_RESET, 8],
    [11, 0, SILENT, NO_RESET, NO_RESET],
    [7, 7, TO_COME, NO_RESET, NO_RESET],
  ],
  isTracked: false,
  idle: [7, 15, 17, 21],
  up: {1: 1, 2: 2, 3: 0, 5: 5, 7: 7, 9: 0, 11: 0, 13: 13, 15: 15, 17: 17, 21: 21},
  down: {1: 1, 2: 2, 5: 5, 7: 7, 9: 0, 13: 13, 15: 15, 17: 17, 21: 21},
  lasts: {[FIRST]: FIRST, [LAST]: LAST, [NEXT]: NEXT, [ALL]: ALL},
};

/** 5 and 9 were overtaken, all that follow are 4 larger. */
const twoNumbers: Numbers = {
  isRenumbered: true,
  lastOfClient: 13,
  lastOfApplication: 17,
  told: [
    [3, 0, SILENT, 7, NO_RESET],
    [9, 11, SILENT, NO_RESET, 8],
    [11, 0, SILENT, NO_RESET, NO_RESET],
    [1, 1, PASSING, NO_RESET, NO_RESET],
    [5, 15, PASSING, NO_RESET, NO_RESET, TRACKED.window, TRACKED.debt],
    [7, 7, PASSING, NO_RESET, NO_RESET],
    [13, 17, PASSING, NO_RESET, NO_RESET],
  ],
  isTracked: true,
  idle: [15, 17, 21],
  up: {1: 1, 2: 2, 3: 0, 5: 15, 7: 7, 9: 0, 11: 0, 13: 17, 15: 19, 17: 21, 21: 25},
  down: {1: 1, 2: 2, 3: 0, 5: 0, 7: 7, 9: 0, 11: 0, 13: 0, 15: 5, 17: 13, 21: 17},
  lasts: {[FIRST]: 13, [LAST]: 13, [NEXT]: 17, [ALL]: ALL},
};

const word = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};
const payloads = fc
  .tuple(fc.nat({max: 60}), fc.nat({max: 255}))
  .map(([length, byte]) => Buffer.alloc(length, byte));

/** What may come of a direction (0: up, 1: down). */
function framesOfWay({up, down}: Numbers, way: number): fc.Arbitrary<Frame> {
  // Two of them, of which more is known, more often.
  const streams = fc.constantFrom(
    ...Object.keys(way === 0 ? up : down).map(Number),
    5,
    5,
    7,
    7,
    15,
  );
  const flags = fc.constant(0);
  return fc.oneof(
    fc.record({
      type: fc.constantFrom(DATA, DATA, DATA, DATA, HEADERS, UNKNOWN),
      flags: fc.constantFrom(0, 1),
      stream: streams,
      payload: payloads,
    }),
    fc.record({
      type: fc.constant(PING),
      flags,
      stream: fc.constant(0),
      payload: fc.constant(Buffer.alloc(8, 'p')),
    }),
    fc.record({
      type: fc.constant(PRIORITY),
      flags,
      stream: streams,
      payload: fc.constant(Buffer.alloc(5)),
    }),
    fc.record({
      type: fc.constant(GOAWAY),
      flags,
      stream: fc.constant(0),
      payload: fc
        .constantFrom(FIRST, LAST, NEXT, ALL)
        .map((last) => Buffer.concat([word(last), Buffer.alloc(6, 'g')])),
    }),
    fc.record({
      type: fc.constant(WINDOW_UPDATE),
      flags,
      stream: fc.oneof(fc.constant(0), streams),
      payload: fc.integer({min: 1, max: 120}).map(word),
    }),
  );
}

const rests: fc.Arbitrary<Rest> = fc
  .record({
    rest: fc.constantFrom(BETWEEN, PASSES, IS_A_FRAME, IS_DROPPED),
    payload: payloads,
    paddingBytes: fc.constantFrom(0, 7),
  })
  .filter(({rest, payload, paddingBytes}) => {
    // There is something left, else it is between frames.
    return rest === BETWEEN || payload.length + paddingBytes > 0;
  });
const directionOf = (numbers: Numbers, way: number): fc.Arbitrary<Direction> =>
  fc.record({
    window: fc.oneof(fc.integer({min: 0, max: 80}), fc.integer({min: 0, max: 300})),
    debt: fc.constantFrom(0, 0, 50),
    untold: fc.constantFrom(0, 0, 20),
    rest: rests,
    frames: fc.array(framesOfWay(numbers, way), {maxLength: 20, size: 'max'}),
  });

function divisionOf(numbers: Numbers, all: readonly Direction[], ownSettings: number): Buffer {
  const words: number[] = [];
  for (const {window, debt, untold, rest} of all) {
    const left = rest.rest === BETWEEN ? 0 : rest.payload.length + rest.paddingBytes;
    words.push(window, debt, untold, rest.rest, left, rest.payload.length, 7, 1);
  }
  const {isRenumbered, lastOfClient, lastOfApplication, told} = numbers;
  words.push(lastOfClient, lastOfApplication, ownSettings, Number(isRenumbered), told.length);
  for (const [ofClient, ofApplication, passed, ...more] of told) {
    const [tellClient, tellApplication, streamWindow = NO_WINDOW, streamDebt = 0] = more;
    words.push(ofClient, ofApplication, passed, tellClient, tellApplication);
    words.push(streamWindow, streamDebt);
  }
  return Buffer.from(Uint32Array.from(words).buffer);
}

const lengthOf = (count: number): Buffer => Buffer.from(Uint32Array.of(count).buffer);
const restBytes = ({rest, payload, paddingBytes}: Rest): Buffer =>
  rest === BETWEEN ? Buffer.alloc(0) : Buffer.concat([payload, Buffer.alloc(paddingBytes)]);
const inputOf = ({rest, frames: all}: Direction): Buffer =>
  Buffer.concat([restBytes(rest), ...all.map(bytesOf)]);

/** What comes out of either direction, and what is left of them, when both come in these pieces, in turns. */
function pass(numbers: Numbers, all: readonly Direction[], pieceBytes: number, ownSettings = 0) {
  const division = divisionOf(numbers, all, ownSettings);
  const input = [lengthOf(division.length), division];
  const inputs = all.map(inputOf);
  const longest = Math.max(...inputs.map(({length}) => length));
  for (let at = 0; at < longest; at += pieceBytes) {
    for (const [way, bytes] of inputs.entries()) {
      const piece = bytes.subarray(at, at + pieceBytes);
      input.push(Buffer.of(way), lengthOf(piece.length), piece);
    }
  }
  const output = execFileSync(driver, {input: Buffer.concat(input)});
  const parts: Buffer[][] = [[], [], [], []];
  for (let at = 0; at < output.length; ) {
    const [kind = 0, end] = [output[at], at + 5 + output.readUInt32LE(at + 1)];
    parts[kind]?.push(output.subarray(at + 5, end));
    at = end;
  }
  return parts.slice(0, 2).map((pieces, way) => {
    const left = Buffer.concat(parts[2 + way] ?? []);
    const [waiting = 0, window = 0, debt = 0, untold = 0] = [0, 4, 8, 12].map((at) =>
      left.readUInt32LE(at),
    );
    return {bytes: Buffer.concat(pieces), waiting, window, debt, untold};
  });
}

const sum = (numbers: readonly number[]): number => numbers.reduce((all, one) => all + one, 0);
const isUpdate = ({type, stream}: Frame): boolean => type === WINDOW_UPDATE && stream === 0;
const updates = (all: readonly Frame[]): number =>
  sum(all.filter(isUpdate).map(({payload}) => payload.readUInt32BE()));
const dataOf = (all: readonly Frame[]): number =>
  sum(all.filter(({type}) => type === DATA).map(({payload}) => payload.length));

/** What a direction says, without what is said of the other one. */
function passedOf(direction: Direction, bytes: Buffer) {
  const {rest} = direction;
  const passing = rest.rest === PASSES ? restBytes(rest).length : 0;
  const said = framesOf(bytes.subarray(passing));
  return {beginning: bytes.subarray(0, passing), said};
}

/** A frame as it is at the other end; undefined: it does not pass. */
function there(numbers: Numbers, way: number, frame: Frame): Frame | undefined {
  const {type, stream, payload} = frame;
  if (isUpdate(frame) || (type === PRIORITY && numbers.isRenumbered)) return undefined;
  const number = (way === 0 ? numbers.up : numbers.down)[stream] ?? 0;
  if (stream > 0) return number > 0 ? {...frame, stream: number} : undefined;
  if (type !== GOAWAY || way === 0) return frame;
  const last = word(numbers.lasts[payload.readUInt32BE()] ?? 0);
  return {...frame, payload: Buffer.concat([last, payload.subarray(4)])};
}

/** The frames that are to pass. */
function expectedOf(numbers: Numbers, way: number, {rest, frames: all}: Direction): Frame[] {
  const own: Frame = {type: DATA, flags: 1, stream: 7, payload: rest.payload};
  return [...(rest.rest === IS_A_FRAME ? [own] : []), ...all].flatMap(
    (frame) => there(numbers, way, frame) ?? [],
  );
}

const divided = fc
  .constantFrom(oneNumber, twoNumbers)
  .chain((numbers) =>
    fc.tuple(
      fc.constant(numbers),
      fc.tuple(directionOf(numbers, 0), directionOf(numbers, 1)),
      fc.integer({min: 1, max: 200}),
    ),
  );

const isOfStream = (frame: Frame): boolean => frame.type === WINDOW_UPDATE && frame.stream > 0;

/** Updates of each stream, in their order; without those of the stream whose window is known. */
function updatesOf(all: readonly Frame[], tracked: number): Map<number, number[]> {
  const found = new Map<number, number[]>();
  for (const {stream, payload} of all.filter(isOfStream)) {
    if (stream === tracked) continue;
    found.set(stream, [...(found.get(stream) ?? []), payload.readUInt32BE()]);
  }
  return found;
}

/** What the known stream takes, in the end, and of what was said of that the client heard. */
function tracked(all: readonly Direction[], said: readonly Frame[], numbers: Numbers) {
  const more = all[1]?.frames.filter((frame) => isOfStream(frame)) ?? [];
  const told = more.filter(({stream}) => stream === TRACKED.ofApplication);
  const bytes = numbers.isTracked ? sum(told.map(({payload}) => payload.readUInt32BE())) : 0;
  const sent = said.filter(({stream}) => stream === TRACKED.ofApplication);
  return {
    room: TRACKED.window + bytes - dataOf(sent),
    heard: bytes - Math.min(bytes, TRACKED.debt),
  };
}

test('frames of streams that nobody answers are left out, all others pass, within the windows', (t) => {
  fc.assert(
    fc.property(divided, ([numbers, all, pieceBytes]) => {
      const ends = pass(numbers, all, pieceBytes);
      for (const [way, direction] of all.entries()) {
        const [end, back] = [ends[way], ends[1 - way]];
        const other = all[1 - way];
        if (end === undefined || back === undefined || other === undefined) return;
        const {beginning, said} = passedOf(direction, end.bytes);
        t.deepEqual(beginning, restBytes(direction.rest).subarray(0, beginning.length));
        // Resets, each once.
        const resets = said.filter((frame) => frame.type === RST_STREAM);
        const told = numbers.told
          .map(([ofClient, ofApplication, , tellClient, tellApplication]) =>
            way === 0 ? [ofApplication, tellApplication] : [ofClient, tellClient],
          )
          .filter(([, code]) => code !== NO_RESET);
        const isMiddle =
          direction.rest.rest === PASSES && beginning.length < restBytes(direction.rest).length;
        if (!isMiddle)
          t.deepEqual(
            resets.map(({stream, payload}) => [stream, payload.readUInt32BE()]),
            told,
          );
        // What passes, in order, as far as there is room for it.
        const isOther = (frame: Frame): boolean =>
          frame.type !== RST_STREAM && frame.type !== WINDOW_UPDATE;
        const passed = said.filter(isOther);
        const wanted = expectedOf(numbers, way, direction);
        const expected = wanted.filter(isOther);
        t.deepEqual(passed, expected.slice(0, passed.length));
        const {room, heard} = tracked(all, passed, numbers);
        const waiting = expected[passed.length];
        if (waiting !== undefined) {
          t.is(waiting.type, DATA);
          const isKnown =
            way === 0 && numbers.isTracked && waiting.stream === TRACKED.ofApplication;
          const least = isKnown ? Math.min(room, end.window) : end.window;
          t.true(waiting.payload.length > least);
        } else t.is(end.waiting, 0);
        if (way === 0 && numbers.isTracked) t.true(room >= 0);
        // Updates of streams may overtake that, but for the beginning of their stream.
        const known = numbers.isTracked && way === 1 ? TRACKED.ofClient : 0;
        const [updated, updatable] = [updatesOf(said, known), updatesOf(wanted, known)];
        for (const [stream, list] of updatable) {
          const found = updated.get(stream) ?? [];
          t.deepEqual(found, waiting === undefined ? list : list.slice(0, found.length));
        }
        if (known > 0) {
          const ofKnown = said.filter((frame) => isOfStream(frame) && frame.stream === known);
          t.is(sum(ofKnown.map(({payload}) => payload.readUInt32BE())), heard);
        }
        for (const stream of way === 0 ? numbers.idle : []) {
          const frames = direction.frames.filter((frame) => frame.stream === stream);
          if (frames[0]?.type !== HEADERS) continue;
          const [first] = said.filter((frame) => frame.stream === numbers.up[stream]);
          if (first !== undefined) t.not(first.type, WINDOW_UPDATE);
        }
        // Nobody gets more than he takes; and nothing of the windows is lost, or made.
        const ofRest =
          direction.rest.rest === PASSES
            ? Math.min(restBytes(direction.rest).length, direction.window)
            : 0;
        const more = updates(framesOf(inputOf(other).subarray(restBytes(other.rest).length)));
        t.is(end.window, direction.window - ofRest - dataOf(passed) + more);
        const paid = Math.min(direction.debt, more);
        t.is(end.debt, direction.debt - paid);
        if (waiting !== undefined) continue;
        const {rest} = direction;
        const dropped =
          (rest.rest === IS_DROPPED ? restBytes(rest).length : 0) +
          (rest.rest === IS_A_FRAME ? rest.paddingBytes : 0) +
          dataOf(direction.frames.filter((frame) => !there(numbers, way, frame)));
        const {said: answered} = passedOf(other, back.bytes);
        t.is(updates(answered), more - paid + direction.untold + dropped);
        t.is(end.untold, 0);
      }
    }),
    {numRuns: 600},
  );
});

const nothing = {
  ...{window: 0, debt: 0, untold: 0, frames: []},
  rest: {rest: BETWEEN, payload: Buffer.alloc(0), paddingBytes: 0},
};

test('what a client asks is refused until it has acknowledged what it was asked', (t) => {
  const head = (stream: number): Frame => ({
    ...{type: HEADERS, flags: 0, stream, payload: Buffer.alloc(1)},
  });
  const more = (stream: number): Frame => ({
    ...{type: CONTINUATION, flags: 0, stream, payload: Buffer.alloc(1)},
  });
  const data = (stream: number): Frame => ({
    ...{type: DATA, flags: 0, stream, payload: Buffer.alloc(5)},
  });
  const ack: Frame = {type: SETTINGS, flags: 1, stream: 0, payload: Buffer.alloc(0)};
  // Trailers of 5, and of what is asked anew, 15: neither can be read. The second acknowledgement is not the application's.
  const early = [head(15), more(15), data(15), data(5), head(5), ack, head(17), data(5), ack];
  const late = [data(15), data(5), head(19), more(19), data(1)];
  for (const pieceBytes of [1, 7, 500]) {
    const frames = [...early, ...late];
    const [up, down] = pass(oneNumber, [{...nothing, window: 100, frames}, nothing], pieceBytes, 2);
    const isReset = ({type}: Frame): boolean => type === RST_STREAM;
    const codes = (bytes: Buffer | undefined): number[][] =>
      framesOf(bytes ?? Buffer.alloc(0))
        .filter(isReset)
        .map(({stream, payload}) => [stream, payload.readUInt32BE()]);
    const passed = framesOf(up?.bytes ?? Buffer.alloc(0)).filter((frame) => !isReset(frame));
    t.deepEqual(passed, [data(5), ack, head(19), more(19), data(1)]);
    t.deepEqual(codes(up?.bytes), [
      [9, 8],
      [5, 8],
    ]);
    t.deepEqual(codes(down?.bytes).toSorted(), [
      [15, 7],
      [17, 7],
      [3, 7],
      [5, 2],
    ]);
    // What was dropped, is given back: of 15 and of 5, twice each.
    t.is(updates(framesOf(down?.bytes ?? Buffer.alloc(0))), 20);
  }
});

test('an update of a window overtakes what waits, but not the beginning of its stream', (t) => {
  const update = (stream: number): Frame => ({
    ...{type: WINDOW_UPDATE, flags: 0, stream, payload: word(1)},
  });
  const head = (stream: number): Frame => ({
    ...{type: HEADERS, flags: 0, stream, payload: Buffer.alloc(1)},
  });
  const waiting = {type: DATA, flags: 0, stream: 1, payload: Buffer.alloc(1)};
  // Of 7 the beginning was read by who is gone, 15 is new.
  const frames = [waiting, head(7), update(7), head(15), update(15), update(1), update(13)];
  const [up] = pass(oneNumber, [{...nothing, frames}, nothing], 500);
  const said = framesOf(up?.bytes ?? Buffer.alloc(0));
  t.deepEqual(
    said.filter(({type}) => type !== RST_STREAM),
    [update(1), update(13)],
  );
});
