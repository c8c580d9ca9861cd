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

const [DATA, HEADERS, RST_STREAM, PING, WINDOW_UPDATE, UNKNOWN] = [0, 1, 3, 6, 8, 99] as const;
const NO_RESET = 0xffff;
const [BETWEEN, PASSES, IS_A_FRAME, IS_DROPPED] = [0, 1, 2, 3] as const;

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

const SILENT = [3, 9, 11];
const streams = fc.constantFrom(1, 5, 7, ...SILENT);
const word = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};
const payloads = fc.uint8Array({maxLength: 60}).map((bytes) => Buffer.from(bytes));
const frames: fc.Arbitrary<Frame> = fc.oneof(
  fc.record({
    type: fc.constantFrom(DATA, DATA, HEADERS, UNKNOWN),
    flags: fc.constantFrom(0, 1),
    stream: streams,
    payload: payloads,
  }),
  fc.record({
    type: fc.constant(PING),
    flags: fc.constant(0),
    stream: fc.constant(0),
    payload: fc.constant(Buffer.alloc(8, 'p')),
  }),
  fc.record({
    type: fc.constant(WINDOW_UPDATE),
    flags: fc.constant(0),
    stream: fc.constantFrom(0, 0, 1, 3),
    payload: fc.integer({min: 1, max: 120}).map(word),
  }),
);
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
const directions: fc.Arbitrary<Direction> = fc.record({
  window: fc.integer({min: 0, max: 300}),
  debt: fc.constantFrom(0, 0, 50),
  untold: fc.constantFrom(0, 0, 20),
  rest: rests,
  frames: fc.array(frames, {maxLength: 12}),
});

const TOLD = [
  {id: 3, client: 7, application: NO_RESET},
  {id: 9, client: NO_RESET, application: 8},
  {id: 11, client: NO_RESET, application: NO_RESET},
];

function divisionOf(all: readonly Direction[]): Buffer {
  const words: number[] = [];
  for (const {window, debt, untold, rest} of all) {
    const left = rest.rest === BETWEEN ? 0 : rest.payload.length + rest.paddingBytes;
    words.push(window, debt, untold, rest.rest, left, rest.payload.length, 7, 1);
  }
  words.push(TOLD.length);
  for (const {id, client, application} of TOLD) words.push(id, client, application);
  return Buffer.from(Uint32Array.from(words).buffer);
}

const lengthOf = (count: number): Buffer => Buffer.from(Uint32Array.of(count).buffer);
const restBytes = ({rest, payload, paddingBytes}: Rest): Buffer =>
  rest === BETWEEN ? Buffer.alloc(0) : Buffer.concat([payload, Buffer.alloc(paddingBytes)]);
const inputOf = ({rest, frames: all}: Direction): Buffer =>
  Buffer.concat([restBytes(rest), ...all.map(bytesOf)]);

/** What comes out of either direction, and what is left of them, when both come in these pieces, in turns. */
function pass(all: readonly Direction[], pieceBytes: number) {
  const division = divisionOf(all);
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
const isSilent = ({stream}: Frame): boolean => SILENT.includes(stream);
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

/** The frames that are to pass. */
function expectedOf({rest, frames: all}: Direction): Frame[] {
  const own: Frame = {type: DATA, flags: 1, stream: 7, payload: rest.payload};
  return [
    ...(rest.rest === IS_A_FRAME ? [own] : []),
    ...all.filter((frame) => !isSilent(frame) && !isUpdate(frame)),
  ];
}

test('frames of streams that nobody answers are left out, all others pass, within the windows', (t) => {
  const both = fc.tuple(directions, directions);
  fc.assert(
    fc.property(both, fc.integer({min: 1, max: 200}), (all, pieceBytes) => {
      const ends = pass(all, pieceBytes);
      for (const [way, direction] of all.entries()) {
        const [end, back] = [ends[way], ends[1 - way]];
        const other = all[1 - way];
        if (end === undefined || back === undefined || other === undefined) return;
        const {beginning, said} = passedOf(direction, end.bytes);
        t.deepEqual(beginning, restBytes(direction.rest).subarray(0, beginning.length));
        // Resets, each once; then what passes, in order, as far as there was room for it.
        const code = way === 0 ? 'application' : 'client';
        const resets = said.filter((frame) => frame.type === RST_STREAM);
        const told = TOLD.filter((one) => one[code] !== NO_RESET);
        const isMiddle =
          direction.rest.rest === PASSES && beginning.length < restBytes(direction.rest).length;
        if (resets.length > 0 || (!isMiddle && end.waiting === 0))
          t.deepEqual(
            resets.map(({stream, payload}) => [stream, payload.readUInt32BE()]),
            resets.length === 0 ? [] : told.map((one) => [one.id, one[code]]),
          );
        const passed = said.filter((frame) => frame.type !== RST_STREAM && !isUpdate(frame));
        const expected = expectedOf(direction);
        t.deepEqual(passed, expected.slice(0, passed.length));
        if (end.waiting === 0) t.is(passed.length, expected.length);
        // Nobody gets more than he takes; and nothing of the windows is lost, or made.
        const ofRest =
          direction.rest.rest === PASSES
            ? Math.min(restBytes(direction.rest).length, direction.window)
            : 0;
        const heard = framesOf(inputOf(other).subarray(restBytes(other.rest).length));
        const isAllHeard = back.waiting === 0;
        if (isAllHeard) {
          const more = updates(heard);
          t.is(end.window, direction.window - ofRest - dataOf(passed) + more);
          const paid = Math.min(direction.debt, more);
          t.is(end.debt, direction.debt - paid);
          if (end.waiting === 0) {
            const {rest} = direction;
            const dropped =
              (rest.rest === IS_DROPPED ? restBytes(rest).length : 0) +
              (rest.rest === IS_A_FRAME ? rest.paddingBytes : 0) +
              dataOf(direction.frames.filter(isSilent));
            const {said: answered} = passedOf(other, back.bytes);
            t.is(updates(answered) + end.untold, more - paid + direction.untold + dropped);
          }
        }
      }
    }),
    {numRuns: 400},
  );
});
