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
 * The frame that is told of is in the reader's fields: there is no object for each.
 */

import {
  CONTINUATION,
  DATA,
  DEFAULT_FRAME_BYTES,
  END_STREAM,
  FRAME_HEADER_BYTES,
  FRAME_SIZE_ERROR,
  HEADERS,
  MAX_31,
  PADDED,
  PROTOCOL_ERROR,
  PUSH_PROMISE,
} from './protocol.ts';

/** The largest payload of a frame that is neither DATA nor known: it is kept until it is whole. */
const KEPT_BYTES = 262_144;

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
  bytes: Buffer = Buffer.alloc(0);
  start = 0;
  end = 0;
  /** Where in `bytes` a frame begins that lies there as a whole, so that it can be passed on as it is; else -1. */
  headerStart = -1;
  /** Of DATA: where such a frame ends, behind its padding; and what it counts for flow control. */
  wholeEnd = 0;
  flowBytes = 0;
  /** What we have said that we take: SETTINGS_MAX_FRAME_SIZE. */
  maxFrameBytes = DEFAULT_FRAME_BYTES;

  readonly #events: FrameEvents;
  #isStopped = false;
  /** The beginning of a frame that has not come as a whole. */
  #rest: Buffer | undefined;
  #restBytes = 0;
  /** What is missing of a DATA frame, and whether it ends the stream. */
  #dataLeft = 0;
  #paddingLeft = 0;
  #isEndOfStream = false;
  /** Of a frame that nobody wants. */
  #skipLeft = 0;

  constructor(events: FrameEvents) {
    this.#events = events;
  }

  /** No byte is in the middle of a frame. */
  get isBetweenFrames(): boolean {
    return this.#restBytes + this.#dataLeft + this.#paddingLeft + this.#skipLeft === 0;
  }

  /** What is kept of a frame that is not whole. */
  get keptBytes(): number {
    return this.#rest?.length ?? 0;
  }

  /** Nothing is told of any more. */
  stop(): void {
    this.#isStopped = true;
  }

  /** Reads the next bytes, which may be lent. */
  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length && !this.#isStopped) {
      if (this.#dataLeft + this.#paddingLeft > 0) at = this.#continueData(chunk, at);
      else if (this.#skipLeft > 0) {
        const count = Math.min(this.#skipLeft, chunk.length - at);
        this.#skipLeft -= count;
        at += count;
      } else if (this.#restBytes > 0) at = this.#continueRest(chunk, at);
      else at = this.#readFrame(chunk, at);
    }
  }

  /** Reads a frame that begins at a place, as far as it is there; returns where to go on. */
  #readFrame(bytes: Buffer, at: number): number {
    if (bytes.length - at < FRAME_HEADER_BYTES)
      return this.#keep(bytes, at, FRAME_HEADER_BYTES + 1);
    const length = this.#readHeader(bytes, at);
    if (length < 0) return bytes.length;
    const start = at + FRAME_HEADER_BYTES;
    const end = start + length;
    if (this.type === DATA) {
      if (end <= bytes.length) return this.#onWholeData(bytes, at, end);
      return this.#beginData(bytes, at, length);
    }
    if (end <= bytes.length) {
      this.#tell(bytes, start, end, at);
      return end;
    }
    if (length > KEPT_BYTES) {
      this.#skipLeft = length;
      return start;
    }
    return this.#keep(bytes, at, FRAME_HEADER_BYTES + length);
  }

  /** Returns the payload's length; -1 when it is not allowed. */
  #readHeader(bytes: Buffer, at: number): number {
    const length = ((bytes[at] ?? 0) << 16) | ((bytes[at + 1] ?? 0) << 8) | (bytes[at + 2] ?? 0);
    this.type = bytes[at + 3] ?? 0;
    this.flags = bytes[at + 4] ?? 0;
    this.streamId = readUint32(bytes, at + 5) & MAX_31;
    const isHead =
      this.type === HEADERS || this.type === CONTINUATION || this.type === PUSH_PROMISE;
    if (length <= this.maxFrameBytes && !(isHead && length > KEPT_BYTES)) return length;
    this.#break(FRAME_SIZE_ERROR);
    return -1;
  }

  #tell(bytes: Buffer, start: number, end: number, headerStart: number): void {
    this.bytes = bytes;
    this.start = start;
    this.end = end;
    this.headerStart = headerStart;
    this.#events.onFrame(this);
  }

  // ---- DATA ----

  #onWholeData(bytes: Buffer, at: number, end: number): number {
    let start = at + FRAME_HEADER_BYTES;
    let dataEnd = end;
    this.flowBytes = end - start;
    this.wholeEnd = end;
    if ((this.flags & PADDED) !== 0) {
      const padding = bytes[start] ?? 0;
      // Section 6.1: the padding must be shorter than the payload.
      if (this.flowBytes === 0) return this.#break(FRAME_SIZE_ERROR);
      if (padding >= this.flowBytes) return this.#break(PROTOCOL_ERROR);
      start++;
      dataEnd -= padding;
    }
    this.#tell(bytes, start, dataEnd, at);
    return end;
  }

  /** `bytes` has the head, and not all of the payload. */
  #beginData(bytes: Buffer, at: number, length: number): number {
    let start = at + FRAME_HEADER_BYTES;
    let padding = 0;
    let overhead = 0;
    if ((this.flags & PADDED) !== 0) {
      if (start === bytes.length) return this.#keep(bytes, at, FRAME_HEADER_BYTES + 1);
      padding = bytes[start] ?? 0;
      if (padding >= length) return this.#break(PROTOCOL_ERROR);
      start++;
      overhead = padding + 1;
    }
    this.#dataLeft = length - overhead;
    this.#paddingLeft = padding;
    this.#isEndOfStream = (this.flags & END_STREAM) !== 0;
    const end = Math.min(bytes.length, start + this.#dataLeft);
    // Without data in it there is one part as well, and its padding is counted with the first.
    if (end > start || this.#dataLeft === 0) this.#tellPart(bytes, start, end, overhead);
    else if (overhead > 0) this.#tellPart(bytes, start, start, overhead);
    return end;
  }

  #continueData(bytes: Buffer, at: number): number {
    if (this.#dataLeft === 0) {
      const count = Math.min(this.#paddingLeft, bytes.length - at);
      this.#paddingLeft -= count;
      return at + count;
    }
    const end = Math.min(bytes.length, at + this.#dataLeft);
    this.#tellPart(bytes, at, end, 0);
    return end;
  }

  #tellPart(bytes: Buffer, start: number, end: number, overhead: number): void {
    this.#dataLeft -= end - start;
    this.type = DATA;
    this.flags = this.#dataLeft === 0 && this.#isEndOfStream ? END_STREAM : 0;
    this.flowBytes = end - start + overhead;
    this.#tell(bytes, start, end, -1);
  }

  // ---- what has not come as a whole ----

  /** Copies the beginning of a frame, of which at least so many bytes are needed. */
  #keep(bytes: Buffer, at: number, needed: number): number {
    const rest = Buffer.allocUnsafe(needed);
    this.#restBytes = bytes.copy(rest, 0, at);
    this.#rest = rest;
    return bytes.length;
  }

  /** Adds what is missing of the head, or of the frame; returns where to go on in `chunk`. */
  #continueRest(chunk: Buffer, at: number): number {
    const rest = this.#rest ?? Buffer.alloc(0);
    const isHead = this.#restBytes < FRAME_HEADER_BYTES;
    // Of a head that has come in two, only itself: what follows is read where it is.
    const needed = isHead ? FRAME_HEADER_BYTES : rest.length;
    const count = chunk.copy(rest, this.#restBytes, at, at + needed - this.#restBytes);
    this.#restBytes += count;
    if (this.#restBytes < needed) return at + count;
    if (!isHead) {
      this.#forgetRest();
      this.#readKept(rest);
      return at + count;
    }
    const length = this.#readHeader(rest, 0);
    if (length < 0) return chunk.length;
    this.#forgetRest();
    if (this.type === DATA) this.#readKeptDataHead(rest, length);
    else if (length > KEPT_BYTES) this.#skipLeft = length;
    else if (length === 0) this.#tell(rest, FRAME_HEADER_BYTES, FRAME_HEADER_BYTES, 0);
    else this.#keep(rest.subarray(0, FRAME_HEADER_BYTES), 0, FRAME_HEADER_BYTES + length);
    return at + count;
  }

  #readKeptDataHead(rest: Buffer, length: number): void {
    const head = rest.subarray(0, FRAME_HEADER_BYTES);
    if (length === 0) this.#onWholeData(head, 0, FRAME_HEADER_BYTES);
    else this.#beginData(head, 0, length);
  }

  #readKept(frame: Buffer): void {
    const length = this.#readHeader(frame, 0);
    if (this.type !== DATA) this.#tell(frame, FRAME_HEADER_BYTES, frame.length, 0);
    else if (frame.length === FRAME_HEADER_BYTES + length)
      this.#onWholeData(frame, 0, frame.length);
    else this.#beginData(frame, 0, length);
  }

  #forgetRest(): void {
    this.#rest = undefined;
    this.#restBytes = 0;
  }

  #break(code: number): number {
    this.#isStopped = true;
    this.#events.onBroken(code);
    return this.bytes.length;
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
