/**
 * Frames of HTTP/2 (RFC 9113, section 4.1) in one direction of a connection. Sans-IO, and without copies.
 *
 *     Length (24)  Type (8)  Flags (8)  Reserved (1)  Stream Identifier (31)  Frame Payload (…)
 *
 * Bytes go in as they come. A frame that lies in them as a whole is told of where it lies. Of a DATA frame that does
 * not, each part is told of as if it was a frame of its own, the last with the flag END_STREAM: so nothing waits, and
 * nothing is kept. What is left of any other is copied until the rest has come. Padding of DATA is counted, for flow
 * control, and skipped.
 *
 * Each byte is told of once, in order: as raw bytes, those of all that was told of are those that came. What was not told
 * of is kept (`takeKept`), or was not read (`consumed`).
 *
 * The frame that is told of is in the reader's fields: there is no object for each.
 */

import {
  ACK,
  DATA,
  DEFAULT_FRAME_BYTES,
  END_STREAM,
  FRAME_HEADER_BYTES,
  FRAME_SIZE_ERROR,
  MAX_31,
  PADDED,
  PROTOCOL_ERROR,
  SETTINGS,
} from './protocol.ts';

/** The largest payload of a frame that is not DATA: it is kept until it is whole. */
const KEPT_BYTES = 262_144;

const NOTHING = Buffer.alloc(0);

/** What is told of the bytes of one direction. */
export interface FrameEvents {
  /** A frame, or a part of a DATA frame, as `frame` has it for as long as this takes. */
  onFrame(frame: FrameReader): void;
  /** What came is no HTTP/2, for a reason that is a code of errors; nothing is read any more. */
  onBroken(code: number): void;
}

export class FrameReader {
  type = 0;
  flags = 0;
  streamId = 0;
  /** The payload is `bytes` from `start` to `end`, of DATA without padding. */
  bytes: Buffer = NOTHING;
  start = 0;
  end = 0;
  /** All of it, as it came, is `bytes` from `rawStart` to `rawEnd`. */
  rawStart = 0;
  rawEnd = 0;
  /** It is not only a part of a DATA frame. */
  isWhole = true;
  /** Of a DATA frame, what is still to come. */
  left = 0;
  /** Of DATA: what it counts for flow control. */
  flowBytes = 0;
  /** How many of the bytes that were pushed last were told of, or are kept. */
  consumed = 0;
  /** What we have said that we take: SETTINGS_MAX_FRAME_SIZE. */
  maxFrameBytes = DEFAULT_FRAME_BYTES;

  readonly #events: FrameEvents;
  #isStopped = false;
  #isPaused = false;
  /** The beginning of a frame that has not come as a whole. */
  #rest: Buffer = NOTHING;
  #restBytes = 0;
  /** What is missing of a DATA frame's data, and whether it ends the stream. */
  #dataLeft = 0;
  #isEndOfStream = false;

  constructor(events: FrameEvents) {
    this.#events = events;
  }

  /** No byte is in the middle of a frame. */
  get isBetweenFrames(): boolean {
    return this.#restBytes + this.left === 0;
  }

  /** Of a DATA frame of which a part was told of: what is still to come before padding, and whether it ends the stream. */
  get dataLeft(): number {
    return this.#dataLeft;
  }

  get isEndOfStream(): boolean {
    return this.#isEndOfStream;
  }

  /** What is kept of a frame that is not whole. */
  get kept(): Buffer {
    return this.#rest.subarray(0, this.#restBytes);
  }

  /** The memory that is kept of a frame that is not whole. */
  get keptBytes(): number {
    return this.#restBytes > 0 ? this.#rest.length : 0;
  }

  /** Nothing is told of any more. */
  stop(): void {
    this.#isStopped = true;
  }

  /** Nothing is read behind the frame that is told of now, until `resume`. */
  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
  }

  /** Returns what is kept, which is nobody's any more. */
  takeKept(): Buffer {
    const {kept} = this;
    this.#forgetRest();
    return kept;
  }

  /** Reads the next bytes, which may be lent, as far as `consumed`: to their end, unless it is paused or has stopped. */
  push(chunk: Buffer): void {
    this.consumed = 0;
    while (this.consumed < chunk.length && !this.#isStopped && !this.#isPaused) {
      if (this.left > 0) this.#tellPart(chunk, this.consumed, 0);
      else if (this.#restBytes > 0) this.#continueRest(chunk);
      else this.#readFrame(chunk);
    }
  }

  /** Reads a frame that begins here, as far as it is there. */
  #readFrame(bytes: Buffer): void {
    const at = this.consumed;
    if (bytes.length - at < FRAME_HEADER_BYTES) {
      this.#keepAll(bytes, FRAME_HEADER_BYTES + 1);
      return;
    }
    const length = this.#readHeader(bytes, at);
    if (length < 0) return;
    const end = at + FRAME_HEADER_BYTES + length;
    if (end <= bytes.length) this.#tellWhole(bytes, at, end);
    else if (this.type !== DATA) this.#keepAll(bytes, FRAME_HEADER_BYTES + length);
    else if ((this.flags & PADDED) !== 0 && at + FRAME_HEADER_BYTES === bytes.length)
      this.#keepAll(bytes, FRAME_HEADER_BYTES + 1);
    else this.#beginData(bytes, at, length);
  }

  /** Returns the payload's length; -1 when it is not allowed. */
  #readHeader(bytes: Buffer, at: number): number {
    const length = ((bytes[at] ?? 0) << 16) | ((bytes[at + 1] ?? 0) << 8) | (bytes[at + 2] ?? 0);
    this.type = bytes[at + 3] ?? 0;
    this.flags = bytes[at + 4] ?? 0;
    this.streamId = readUint32(bytes, at + 5) & MAX_31;
    const isKept = this.type !== DATA;
    if (length <= this.maxFrameBytes && !(isKept && length > KEPT_BYTES)) return length;
    this.#break(FRAME_SIZE_ERROR);
    return -1;
  }

  /** `consumed` is where it ends in what was pushed, or will be. */
  #tellWhole(bytes: Buffer, at: number, end: number): void {
    this.bytes = bytes;
    this.rawStart = at;
    this.rawEnd = end;
    this.start = at + FRAME_HEADER_BYTES;
    this.end = end;
    this.isWhole = true;
    if (this.type === DATA && !this.#trimPadding()) return;
    if (this.#restBytes === 0) this.consumed = end;
    else this.#forgetRest();
    this.#events.onFrame(this);
  }

  // ---- DATA ----

  #trimPadding(): boolean {
    this.flowBytes = this.end - this.start;
    if ((this.flags & PADDED) === 0) return true;
    const padding = this.bytes[this.start] ?? 0;
    // Section 6.1: the padding must be shorter than the payload.
    if (this.flowBytes === 0) return this.#break(FRAME_SIZE_ERROR);
    if (padding >= this.flowBytes) return this.#break(PROTOCOL_ERROR);
    this.start++;
    this.end -= padding;
    return true;
  }

  /** `bytes` has the head, with the length of the padding, and not all of the payload. */
  #beginData(bytes: Buffer, at: number, length: number): void {
    const start = at + FRAME_HEADER_BYTES;
    const isPadded = (this.flags & PADDED) !== 0;
    const padding = isPadded ? (bytes[start] ?? 0) : 0;
    if (isPadded && padding >= length) {
      this.#break(PROTOCOL_ERROR);
      return;
    }
    const overhead = isPadded ? padding + 1 : 0;
    this.#dataLeft = length - overhead;
    this.#isEndOfStream = (this.flags & END_STREAM) !== 0;
    this.left = FRAME_HEADER_BYTES + length;
    this.#tellPart(bytes, at, overhead, isPadded ? start + 1 : start);
  }

  /** What there is of a DATA frame; `start`: where its payload begins; `overhead`: of padding, which is counted first. */
  #tellPart(bytes: Buffer, rawStart: number, overhead: number, start = rawStart): void {
    const rawEnd = Math.min(bytes.length, rawStart + this.left);
    const end = Math.min(rawEnd, start + this.#dataLeft);
    this.left -= rawEnd - rawStart;
    this.#dataLeft -= end - start;
    this.type = DATA;
    this.flags = this.left === 0 && this.#isEndOfStream ? END_STREAM : 0;
    this.bytes = bytes;
    this.rawStart = rawStart;
    this.rawEnd = rawEnd;
    this.start = start;
    this.end = end;
    this.isWhole = false;
    this.flowBytes = end - start + overhead;
    if (this.#restBytes === 0) this.consumed = rawEnd;
    else this.#forgetRest();
    this.#events.onFrame(this);
  }

  // ---- what has not come as a whole ----

  /** Copies the beginning of a frame, of which at least so many bytes are needed. */
  #keep(bytes: Buffer, at: number, needed: number): void {
    const rest = Buffer.allocUnsafe(needed);
    this.#restBytes = bytes.copy(rest, 0, at);
    this.#rest = rest;
  }

  #keepAll(bytes: Buffer, needed: number): void {
    this.#keep(bytes, this.consumed, needed);
    this.consumed = bytes.length;
  }

  /** Adds what is missing of the head, or of what was kept for. */
  #continueRest(chunk: Buffer): void {
    const rest = this.#rest;
    const isHead = this.#restBytes < FRAME_HEADER_BYTES;
    // Of a head that has come in two, only itself: what follows is read where it is.
    const needed = isHead ? FRAME_HEADER_BYTES : rest.length;
    const count = chunk.copy(
      rest,
      this.#restBytes,
      this.consumed,
      this.consumed + needed - this.#restBytes,
    );
    this.#restBytes += count;
    this.consumed += count;
    if (this.#restBytes < needed) return;
    const length = this.#readHeader(rest, 0);
    if (length < 0) return;
    const whole = FRAME_HEADER_BYTES + length;
    if (this.#restBytes === whole) this.#tellWhole(rest.subarray(0, whole), 0, whole);
    else if (this.type !== DATA) this.#keep(rest.subarray(0, needed), 0, whole);
    else if (!isHead || (this.flags & PADDED) === 0)
      this.#beginData(rest.subarray(0, needed), 0, length);
  }

  #forgetRest(): void {
    this.#rest = NOTHING;
    this.#restBytes = 0;
  }

  #break(code: number): false {
    this.#isStopped = true;
    this.#events.onBroken(code);
    return false;
  }
}

/** Reads 32 bits, as a number that may be negative. */
export function readUint32(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at] ?? 0) << 24) |
    ((bytes[at + 1] ?? 0) << 16) |
    ((bytes[at + 2] ?? 0) << 8) |
    (bytes[at + 3] ?? 0)
  );
}

/** Writes 32 bits. */
export function writeUint32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

/** Writes the head of a frame. */
export function writeFrameHeader(
  bytes: Uint8Array,
  at: number,
  {length, type, flags, streamId}: FrameHeader,
): void {
  bytes[at] = length >>> 16;
  bytes[at + 1] = length >>> 8;
  bytes[at + 2] = length;
  bytes[at + 3] = type;
  bytes[at + 4] = flags;
  writeUint32(bytes, at + 5, streamId);
}

export interface FrameHeader {
  readonly length: number;
  readonly type: number;
  readonly flags: number;
  readonly streamId: number;
}

/** A frame whose payload is one word: RST_STREAM, WINDOW_UPDATE. */
export function wordFrame(type: number, streamId: number, word: number): Buffer {
  const bytes = Buffer.allocUnsafe(FRAME_HEADER_BYTES + 4);
  writeFrameHeader(bytes, 0, {length: 4, type, flags: 0, streamId});
  writeUint32(bytes, FRAME_HEADER_BYTES, word);
  return bytes;
}

/** What acknowledges SETTINGS. */
export function settingsAck(): Buffer {
  return frameHeader({length: 0, type: SETTINGS, flags: ACK, streamId: 0});
}

/** The head of a frame, by itself. */
export function frameHeader(header: FrameHeader): Buffer {
  const bytes = Buffer.allocUnsafe(FRAME_HEADER_BYTES);
  writeFrameHeader(bytes, 0, header);
  return bytes;
}
