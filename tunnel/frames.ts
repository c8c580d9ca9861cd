/**
 * The binary form of frames. A message is a sequence of whole frames, nothing between them.
 *
 *     uint8   type
 *     uint24  length    of the payload that follows the header
 *     uint32  stream    0 for frames that concern the whole tunnel
 *
 *     HELLO     handshake.ts                 OPENED    uint64 credit, body
 *     WELCOME   handshake.ts                 REFUSED   errno
 *     CLOSE     uint16 code                  DATA      bytes
 *     PING      8 bytes, any                 FIN       uint64 final offset
 *     PONG      the same 8 bytes             RESET     errno
 *     OPEN      uint8 kind, uint64 credit,   STOP      errno
 *               body                         CREDIT    uint64 offset
 *     RESUME    resume-frames.ts             DATAGRAM  bytes
 *     RESUMED   uint64 messages received
 *     ACK       uint64 messages received
 *
 * All numbers are big-endian. Offsets are absolute: the first byte of a direction has offset 0, and
 * a credit of n allows the bytes below n. RESUME, RESUMED and ACK are there when the handshake has agreed on
 * them (resume.ts). An errno is its Linux name in ASCII.
 */

import {ProtocolError} from './errors.ts';
import {
  BODY_BYTES,
  DATA_BYTES,
  DATAGRAM_BYTES,
  HANDSHAKE_BYTES,
  HEADER_BYTES,
  MESSAGE_BYTES,
  RESUME_BYTES,
} from './limits.ts';
import type {ErrnoName, StreamKind} from './types.ts';

/** The types of frames, as numbers on the wire. */
export const FRAME = {
  hello: 1,
  welcome: 2,
  close: 3,
  ping: 4,
  pong: 5,
  resume: 6,
  resumed: 7,
  ack: 8,
  open: 16,
  opened: 17,
  refused: 18,
  data: 19,
  fin: 20,
  reset: 21,
  stop: 22,
  credit: 23,
  datagram: 24,
} as const;

const ERRNO_MAX_BYTES = 24;
const KINDS: readonly StreamKind[] = ['tcp', 'udp', 'echo', 'call', 'unix'];

/** The allowed lengths of the payload by type, [least, most]. */
const LENGTHS = new Map<number, readonly [number, number]>([
  [FRAME.hello, [8, HANDSHAKE_BYTES]],
  [FRAME.welcome, [2, HANDSHAKE_BYTES]],
  [FRAME.close, [2, 2]],
  [FRAME.ping, [8, 8]],
  [FRAME.pong, [8, 8]],
  [FRAME.resume, [RESUME_BYTES, RESUME_BYTES]],
  [FRAME.resumed, [8, 8]],
  [FRAME.ack, [8, 8]],
  [FRAME.open, [9, 9 + BODY_BYTES]],
  [FRAME.opened, [8, 8 + BODY_BYTES]],
  [FRAME.refused, [2, ERRNO_MAX_BYTES]],
  [FRAME.data, [1, DATA_BYTES]],
  [FRAME.fin, [8, 8]],
  [FRAME.reset, [2, ERRNO_MAX_BYTES]],
  [FRAME.stop, [2, ERRNO_MAX_BYTES]],
  [FRAME.credit, [8, 8]],
  [FRAME.datagram, [0, DATAGRAM_BYTES]],
]);

/** One frame inside a message: its payload is `message[start, end)`. Filled again and again. */
export interface FrameView {
  type: number;
  stream: number;
  start: number;
  end: number;
}

/**
 * Reads the header at `offset` of `message` into `frame`; the next frame starts at `frame.end`.
 * Throws ProtocolError MESSAGE_TOO_BIG, FRAME_TRUNCATED, FRAME_UNKNOWN, FRAME_TOO_BIG or
 * FRAME_MALFORMED.
 */
export function parseFrame(message: Uint8Array, offset: number, frame: FrameView): void {
  if (message.length > MESSAGE_BYTES) throw new ProtocolError('MESSAGE_TOO_BIG');
  parseHeader(message, offset, frame);
  if (frame.end > message.length) throw new ProtocolError('FRAME_TRUNCATED');
}

/** The same for a message of which only the first bytes are here, with the header. */
export function parseHeader(message: Uint8Array, offset: number, frame: FrameView): void {
  const start = offset + HEADER_BYTES;
  if (start > message.length) throw new ProtocolError('FRAME_TRUNCATED');
  const type = at(message, offset);
  const length =
    (at(message, offset + 1) << 16) | (at(message, offset + 2) << 8) | at(message, offset + 3);
  const stream = readUint32(message, offset + 4);
  const allowed = LENGTHS.get(type);
  if (allowed === undefined) throw new ProtocolError('FRAME_UNKNOWN');
  if (length > allowed[1]) throw new ProtocolError('FRAME_TOO_BIG');
  if (length < allowed[0]) throw new ProtocolError('FRAME_MALFORMED');
  // Frames of the tunnel name no stream; frames of a stream name one.
  if (type < FRAME.open !== (stream === 0)) throw new ProtocolError('FRAME_MALFORMED');
  frame.type = type;
  frame.stream = stream;
  frame.start = start;
  frame.end = start + length;
}

/** Writes a header into `bytes[offset, offset + 8)`. */
export function emitHeader(
  bytes: Uint8Array,
  offset: number,
  header: {readonly type: number; readonly stream: number; readonly length: number},
): void {
  const {type, stream, length} = header;
  bytes[offset] = type;
  bytes[offset + 1] = length >>> 16;
  bytes[offset + 2] = length >>> 8;
  bytes[offset + 3] = length;
  writeUint32(bytes, offset + 4, stream);
}

/** Returns a new frame with room for `length` bytes of payload behind its header. */
export function newFrame(type: number, stream: number, length: number): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + length);
  emitHeader(bytes, 0, {type, stream, length});
  return bytes;
}

/** Returns a new CLOSE, with the number of a code. */
export function emitClose(number: number): Uint8Array {
  const bytes = newFrame(FRAME.close, 0, 2);
  bytes[HEADER_BYTES] = number >>> 8;
  bytes[HEADER_BYTES + 1] = number;
  return bytes;
}

/** Returns a new PING or PONG with its 8 bytes. */
export function emitPing(type: number, nonce: Uint8Array): Uint8Array {
  const bytes = newFrame(type, 0, 8);
  bytes.set(nonce, HEADER_BYTES);
  return bytes;
}

/** Returns a new OPEN. `credit`: how much the opener takes before it grants more. */
export function emitOpen(
  stream: number,
  open: {readonly kind: StreamKind; readonly credit: number; readonly body: Uint8Array},
): Uint8Array {
  const bytes = newFrame(FRAME.open, stream, 9 + open.body.length);
  bytes[HEADER_BYTES] = KINDS.indexOf(open.kind);
  writeOffset(bytes, HEADER_BYTES + 1, open.credit);
  bytes.set(open.body, HEADER_BYTES + 9);
  return bytes;
}

/** Returns a new OPENED. `credit` is an absolute offset. */
export function emitOpened(stream: number, credit: number, body: Uint8Array): Uint8Array {
  const bytes = newFrame(FRAME.opened, stream, 8 + body.length);
  writeOffset(bytes, HEADER_BYTES, credit);
  bytes.set(body, HEADER_BYTES + 8);
  return bytes;
}

/** Returns a new FIN, CREDIT, RESUMED or ACK: a frame of one number. */
export function emitOffset(type: number, stream: number, offset: number): Uint8Array {
  const bytes = newFrame(type, stream, 8);
  writeOffset(bytes, HEADER_BYTES, offset);
  return bytes;
}

/** Returns a new REFUSED, RESET or STOP. What is no errno name becomes EIO. */
export function emitErrno(type: number, stream: number, errno: ErrnoName): Uint8Array {
  const name = isErrno(errno) ? errno : 'EIO';
  const bytes = newFrame(type, stream, name.length);
  for (let index = 0; index < name.length; index++) {
    bytes[HEADER_BYTES + index] = name.charCodeAt(index);
  }
  return bytes;
}

/** Reads the kind of an OPEN. Throws ProtocolError STREAM_KIND. */
export function parseKind(message: Uint8Array, start: number): StreamKind {
  const kind = KINDS[at(message, start)];
  if (kind === undefined) throw new ProtocolError('STREAM_KIND');
  return kind;
}

/** Reads an errno name that fills `message[start, end)`. Throws ProtocolError FRAME_MALFORMED. */
export function parseErrno(message: Uint8Array, start: number, end: number): ErrnoName {
  let name = '';
  for (let index = start; index < end; index++) name += String.fromCharCode(at(message, index));
  if (!isErrno(name)) throw new ProtocolError('FRAME_MALFORMED');
  return name;
}

/** Tells whether this is spelled like an errno: they go into logs and replies as they are. */
export function isErrno(name: string): boolean {
  return name.length <= ERRNO_MAX_BYTES && /^E[0-9A-Z]+$/.test(name);
}

/** Reads an offset. Throws ProtocolError FRAME_MALFORMED above 2^53 − 1. */
export function readOffset(bytes: Uint8Array, offset: number): number {
  const high = readUint32(bytes, offset);
  if (high > 0x1f_ffff) throw new ProtocolError('FRAME_MALFORMED');
  return high * 0x1_0000_0000 + readUint32(bytes, offset + 4);
}

/** Writes an offset of up to 2^53 − 1 as uint64. */
export function writeOffset(bytes: Uint8Array, offset: number, value: number): void {
  writeUint32(bytes, offset, Math.floor(value / 0x1_0000_0000));
  writeUint32(bytes, offset + 4, value >>> 0);
}

export function readUint16(bytes: Uint8Array, offset: number): number {
  return (at(bytes, offset) << 8) | at(bytes, offset + 1);
}

export function readUint32(bytes: Uint8Array, offset: number): number {
  return ((readUint16(bytes, offset) << 16) | readUint16(bytes, offset + 2)) >>> 0;
}

export function writeUint16(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value >>> 8;
  bytes[offset + 1] = value;
}

export function writeUint32(bytes: Uint8Array, offset: number, value: number): void {
  writeUint16(bytes, offset, value >>> 16);
  writeUint16(bytes, offset + 2, value);
}

/** Reads a byte; the caller has checked the length, and a slip reads as 0 instead of NaN. */
function at(bytes: Uint8Array, offset: number): number {
  return bytes[offset] ?? 0;
}
