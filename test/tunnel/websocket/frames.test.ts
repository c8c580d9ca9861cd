import type {Writable} from 'node:stream';
import test from 'ava';
import fc from 'fast-check';
import * as ws from 'ws';
import {
  applyMask,
  CLOSE_CODE,
  closeCodeOf,
  emitHead,
  FrameError,
  FrameReader,
  MAX_HEAD_BYTES,
  OPCODE,
  type Sender as Side,
} from '../../../tunnel/websocket/frames.ts';

const limit = 1_000_000;

/** Public in ws, but not in its types. */
const {Receiver, Sender} = ws as unknown as {
  Receiver: new (options: object) => Writable;
  Sender: {frame(data: Buffer, options: object): Buffer[]};
};

/** What a reader has told, messages put together. */
class Reading {
  readonly said: string[] = [];
  readonly lengths: (number | undefined)[] = [];
  readonly reader: FrameReader;
  #message: Buffer[] = [];
  #isBinary = false;

  constructor(side: Side, maxMessageBytes = limit) {
    this.reader = new FrameReader(side, maxMessageBytes, {
      onMessage: (isBinary, bytes) => {
        this.#isBinary = isBinary;
        this.lengths.push(bytes);
      },
      onPayload: (piece) => this.#message.push(Buffer.from(piece)),
      onMessageEnd: () => {
        const bytes = Buffer.concat(this.#message);
        this.said.push(`${this.#isBinary ? 'binary' : 'text'} ${bytes.toString('hex')}`);
        this.#message = [];
      },
      onControl: (opcode, payload) => {
        this.said.push(`${opcode} ${Buffer.from(payload).toString('hex')}`);
      },
    });
  }
}

/** One frame as `ws` writes it. */
function frameOf(
  data: Uint8Array,
  options: {opcode: number; fin?: boolean; mask?: boolean; rsv1?: boolean},
): Buffer {
  const {opcode, fin = true, mask = false, rsv1 = false} = options;
  const bytes = Buffer.from(data);
  return Buffer.concat(Sender.frame(bytes, {opcode, fin, mask, rsv1, readOnly: true}));
}

const messages = fc.array(
  fc.record({
    pieces: fc.array(fc.uint8Array({maxLength: 70_000, size: 'max'}), {minLength: 1, maxLength: 3}),
    isBinary: fc.boolean(),
    ping: fc.option(fc.uint8Array({maxLength: 125})),
  }),
  {maxLength: 5},
);

for (const side of ['client', 'server'] as const) {
  test(`whatever a ${side} sends is read, in any pieces`, (t) => {
    fc.assert(
      fc.property(messages, fc.array(fc.nat(5_000), {maxLength: 50}), (sent, cuts) => {
        const mask = side === 'client';
        const expected: string[] = [];
        const frames: Buffer[] = [];
        for (const {pieces, isBinary, ping} of sent) {
          const opcode = isBinary ? OPCODE.binary : OPCODE.text;
          pieces.forEach((piece, index) => {
            const fin = index === pieces.length - 1;
            frames.push(frameOf(piece, {opcode: index === 0 ? opcode : 0, fin, mask}));
            if (ping !== null && index === 0) {
              frames.push(frameOf(ping, {opcode: OPCODE.ping, mask}));
              expected.push(`${OPCODE.ping} ${Buffer.from(ping).toString('hex')}`);
            }
          });
          const whole = Buffer.concat(pieces).toString('hex');
          const said = `${isBinary ? 'binary' : 'text'} ${whole}`;
          // A ping comes behind the first frame, which may be the whole message.
          if (ping !== null && pieces.length === 1) expected.splice(-1, 0, said);
          else expected.push(said);
        }
        const bytes = Buffer.concat(frames);
        const reading = new Reading(side);
        let at = 0;
        for (const cut of cuts) {
          reading.reader.push(bytes.subarray(at, at + cut));
          at += cut;
        }
        reading.reader.push(bytes.subarray(at));
        t.deepEqual(reading.said, expected);
        t.deepEqual(
          reading.lengths,
          sent.map(({pieces}) => (pieces.length === 1 ? pieces[0]?.length : undefined)),
        );
        t.false(reading.reader.isInside);
      }),
      {numRuns: 60},
    );
  });
}

test('what we write, ws reads', async (t) => {
  for (const isMasked of [false, true]) {
    const receiver = new Receiver({isServer: isMasked, binaryType: 'nodebuffer'});
    for (const length of [0, 1, 125, 126, 127, 65_535, 65_536, 200_000]) {
      const mask = isMasked ? new Uint8Array([1, 2, 3, 250]) : undefined;
      const payload = new Uint8Array(length).map((_, index) => index * 7);
      const bytes = new Uint8Array(MAX_HEAD_BYTES + length);
      bytes.set(payload, MAX_HEAD_BYTES);
      if (mask !== undefined) applyMask(bytes.subarray(MAX_HEAD_BYTES), mask, 0);
      const start = emitHead(bytes, MAX_HEAD_BYTES, {opcode: OPCODE.binary, length, mask});
      const read = new Promise<Buffer>((resolve) => receiver.once('message', resolve));
      receiver.write(Buffer.from(bytes.subarray(start)));
      t.deepEqual(new Uint8Array(await read), payload, `${length} bytes`);
    }
  }
});

test('what RFC 6455 forbids is refused, with the code of section 7.4.1', (t) => {
  const wrong = [
    ['a reserved bit', [0xc2, 0], CLOSE_CODE.protocolError],
    ['an unknown opcode', [0x83, 0], CLOSE_CODE.protocolError],
    ['an unknown control opcode', [0x8b, 0], CLOSE_CODE.protocolError],
    ['a fragmented ping', [0x09, 0], CLOSE_CODE.protocolError],
    ['a long ping', [0x89, 126, 0, 126], CLOSE_CODE.protocolError],
    ['a continuation of nothing', [0x80, 0], CLOSE_CODE.protocolError],
    ['a message within a message', [0x02, 1, 0, 0x82, 0], CLOSE_CODE.protocolError],
    ['a masked frame of a server', [0x82, 0x80, 0, 0, 0, 0], CLOSE_CODE.protocolError],
    ['a message over the limit', [0x82, 127, 0, 0, 0, 0, 0, 0, 4, 1], CLOSE_CODE.tooBig],
    ['one that becomes too long', [0x02, 126, 4, 0, ...Array(1024), 0x80, 1], CLOSE_CODE.tooBig],
    ['2^63 bytes', [0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0], CLOSE_CODE.tooBig],
  ] as const;
  for (const [what, bytes, code] of wrong) {
    const {reader} = new Reading('server', 1024);
    const error = t.throws(() => reader.push(Uint8Array.from(bytes as readonly number[])), {
      instanceOf: FrameError,
    });
    t.is(error?.code, code, what);
  }
  t.is(closeCodeOf(new Uint8Array([3, 0xe8, 65])), 1000);
  t.is(closeCodeOf(new Uint8Array(0)), CLOSE_CODE.noStatus);
  t.throws(() => closeCodeOf(new Uint8Array(1)), {instanceOf: FrameError});
  const {reader} = new Reading('client');
  t.throws(() => reader.push(new Uint8Array([0x82, 0])), {message: /masked/});
});

test('a reader that is stopped reads nothing more, also in the middle of a push', (t) => {
  const said: string[] = [];
  const reader = new FrameReader('server', limit, {
    onMessage: () => undefined,
    onPayload: (piece) => {
      said.push(Buffer.from(piece).toString());
      reader.stop();
    },
    onMessageEnd: () => undefined,
    onControl: () => undefined,
  });
  const frame = frameOf(Buffer.from('one'), {opcode: OPCODE.binary});
  reader.push(Buffer.concat([frame, frame]));
  reader.push(frame);
  t.deepEqual(said, ['one']);
});
