import assert from 'node:assert/strict';
import test from 'ava';
import fc from 'fast-check';
import {ProtocolError} from '../../tunnel/errors.ts';
import {
  emitErrno,
  emitOffset,
  emitOpen,
  emitOpened,
  emitPing,
  FRAME,
  type FrameView,
  newFrame,
  parseErrno,
  parseFrame,
  parseKind,
  readOffset,
  writeOffset,
} from '../../tunnel/frames.ts';
import {MESSAGE_BYTES} from '../../tunnel/limits.ts';
import {holds} from '../helpers/tunnel.ts';

const parse = (message: Uint8Array): FrameView => {
  const frame = {type: 0, stream: 0, start: 0, end: 0};
  parseFrame(message, 0, frame);
  return frame;
};

const emitted = test.macro({
  exec(t, bytes: Uint8Array, hex: string) {
    t.is(Buffer.from(bytes).toString('hex'), hex.replaceAll(' ', ''));
  },
  title: (name) => `${name} has its bytes`,
});

test(
  'OPEN',
  emitted,
  emitOpen(5, {kind: 'udp', credit: 0x1_0000_0002, body: new Uint8Array([4])}),
  '10 00000a 00000005 01 0000000100000002 04',
);
test(
  'OPENED',
  emitted,
  emitOpened(5, 256, new Uint8Array([9, 8])),
  '11 00000a 00000005 0000000000000100 0908',
);
test('REFUSED', emitted, emitErrno(FRAME.refused, 1, 'EIO'), '12 000003 00000001 45494f');
test('CREDIT', emitted, emitOffset(FRAME.credit, 1, 7), '17 000008 00000001 0000000000000007');
test(
  'PING',
  emitted,
  emitPing(FRAME.ping, new Uint8Array(8).fill(1)),
  '04 000008 00000000 0101010101010101',
);

const breach = test.macro({
  exec(t, message: Uint8Array, code: string) {
    const error = t.throws(() => parse(message), {instanceOf: ProtocolError});
    t.is(error.code, code as never);
  },
  title: (name, _message, code) => `${name} is ${code}`,
});

const hex = (text: string): Uint8Array =>
  Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'));
test('half a header', breach, hex('04 0000'), 'FRAME_TRUNCATED');
test(
  'a payload that ends outside of the message',
  breach,
  hex('13 000005 00000001 aabb'),
  'FRAME_TRUNCATED',
);
test('a type nobody knows', breach, hex('7f 000000 00000000'), 'FRAME_UNKNOWN');
test('a PING of 9 bytes', breach, hex('04 000009 00000000 010101010101010101'), 'FRAME_TOO_BIG');
test('a PING of 7 bytes', breach, hex('04 000007 00000000 01010101010101'), 'FRAME_MALFORMED');
test('empty DATA', breach, hex('13 000000 00000001'), 'FRAME_MALFORMED');
test('a PING on a stream', breach, hex('04 000008 00000001 0101010101010101'), 'FRAME_MALFORMED');
test('DATA on no stream', breach, hex('13 000001 00000000 01'), 'FRAME_MALFORMED');
test('a message over the limit', breach, new Uint8Array(MESSAGE_BYTES + 1), 'MESSAGE_TOO_BIG');
test('OPEN with a body over the limit', breach, newFrame(FRAME.open, 1, 40_000), 'FRAME_TOO_BIG');

test('an offset above 2^53 - 1 is FRAME_MALFORMED', (t) => {
  const bytes = new Uint8Array(8).fill(0xff);
  const error = t.throws(() => readOffset(bytes, 0), {instanceOf: ProtocolError});
  t.is(error.code, 'FRAME_MALFORMED');
});

test('any offset is read as it was written', (t) => {
  holds(
    t,
    fc.property(fc.maxSafeNat(), (offset) => {
      const bytes = new Uint8Array(10).fill(0xa5);
      writeOffset(bytes, 1, offset);
      assert.equal(readOffset(bytes, 1), offset);
      assert.equal(bytes[0], 0xa5);
      assert.equal(bytes[9], 0xa5);
    }),
  );
});

test('what is no errno name crosses as EIO', (t) => {
  for (const name of ['', 'econnreset', 'ERR_SOCKET', 'E', 'E\n', `E${'A'.repeat(40)}`]) {
    const bytes = emitErrno(FRAME.reset, 1, name);
    t.is(parseErrno(bytes, 8, bytes.length), 'EIO');
  }
});

test('an errno that is none, or a kind that is none, is a breach', (t) => {
  t.throws(() => parseErrno(hex('45 0a 0d'), 0, 3), {instanceOf: ProtocolError});
  t.throws(() => parseKind(hex('05'), 0), {instanceOf: ProtocolError});
});
