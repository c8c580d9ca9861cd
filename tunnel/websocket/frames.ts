/**
 * Frames of the WebSocket protocol (RFC 6455, section 5), without a copy.
 *
 * Theory of operation. `FrameReader` takes bytes as they come from a connection, in any pieces, and hands
 * on the payload of messages as views of these pieces: a message need not be whole before its first bytes are
 * used. That is what this file is for: a reader that puts messages together first copies every byte of bulk
 * data once more, and gives the garbage collector a buffer for each of them. Control frames are put
 * together; they have at most 125 bytes and may come between the frames of a message.
 *
 * A frame that RFC 6455 forbids throws `FrameError`, with the code of section 7.4.1 to close with.
 */

export const OPCODE = {continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10} as const;

/** Why a connection is closed (section 7.4.1). */
export const CLOSE_CODE = {
  normal: 1000,
  protocolError: 1002,
  noStatus: 1005,
  tooBig: 1009,
} as const;

/** The longest head of a frame: 2 bytes, 8 of length, 4 of mask. */
export const MAX_HEAD_BYTES = 14;
/** The most that a control frame holds (section 5.5). */
export const MAX_CONTROL_BYTES = 125;

const FIN = 0x80;
const RESERVED = 0x70;
const CONTROL = 0x08;
const MASK = 0x80;
const LENGTH_16 = 126;
const LENGTH_64 = 127;
/** The length of a mask. */
export const MASK_BYTES = 4;

/** The peer has broken RFC 6455. */
export class FrameError extends Error {
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.name = 'FrameError';
    this.code = code;
  }
}

/** What is read. */
export interface FrameSink {
  /** A message begins. `bytes`: all that it has, if that is known yet, which it is unless it has several frames. */
  onMessage(isBinary: boolean, bytes: number | undefined): void;
  /** Its next bytes, at least one: a view of what was pushed. */
  onPayload(piece: Uint8Array): void;
  /** It is whole. */
  onMessageEnd(): void;
  /** A close, ping or pong. The payload is a copy. */
  onControl(opcode: number, payload: Uint8Array): void;
}

/** Who sent what is read: a client masks its frames, a server does not (section 5.1). */
export type Sender = 'client' | 'server';

/** Reads the frames of one connection. */
export class FrameReader {
  readonly #sink: FrameSink;
  readonly #isMasked: boolean;
  readonly #maxMessageBytes: number;
  /** A head that has not come whole yet. */
  readonly #head = new Uint8Array(MAX_HEAD_BYTES);
  #headBytes = 0;
  /** The frame under way: what of its payload is still to come, and how it is masked. */
  #isInFrame = false;
  #opcode = 0;
  #isFinal = false;
  #left = 0;
  #maskAt = 0;
  readonly #mask = new Uint8Array(MASK_BYTES);
  #hasMask = false;
  /** The message under way, and its bytes so far. */
  #isInMessage = false;
  #messageBytes = 0;
  /** The payload of a control frame. */
  #control: Uint8Array | undefined;
  #isStopped = false;

  constructor(sender: Sender, maxMessageBytes: number, sink: FrameSink) {
    this.#isMasked = sender === 'client';
    this.#maxMessageBytes = maxMessageBytes;
    this.#sink = sink;
  }

  /** Whether a frame has begun and is not over: an end of the connection here is no end of the protocol. */
  get isInside(): boolean {
    return this.#isInFrame || this.#isInMessage || this.#headBytes > 0;
  }

  /** Reads no more: what was pushed and is not handled yet is dropped. May be called by the sink. */
  stop(): void {
    this.#isStopped = true;
  }

  /** Takes the next bytes, which it may change. Throws FrameError; whatever comes then makes no sense. */
  push(bytes: Uint8Array): void {
    let at = 0;
    while (!this.#isStopped) {
      if (!this.#isInFrame) {
        const end = this.#readHead(bytes, at);
        if (end === undefined) return;
        at = end;
      }
      // An empty frame is over with its head.
      if (this.#left > 0 && at === bytes.length) return;
      const count = Math.min(this.#left, bytes.length - at);
      this.#takePayload(count === bytes.length ? bytes : bytes.subarray(at, at + count));
      at += count;
    }
  }

  /** Reads the head at `at`; returns where it ends, or undefined when more of it is to come. */
  #readHead(bytes: Uint8Array, at: number): number | undefined {
    if (this.#headBytes === 0 && at + 2 <= bytes.length) {
      const end = at + headBytes(bytes[at + 1] ?? 0);
      if (end <= bytes.length) {
        this.#begin(bytes, at);
        return end;
      }
    }
    for (let from = at; from < bytes.length; from++) {
      this.#head[this.#headBytes] = bytes[from] ?? 0;
      this.#headBytes++;
      if (this.#headBytes < 2 || this.#headBytes < headBytes(this.#head[1] ?? 0)) continue;
      this.#headBytes = 0;
      this.#begin(this.#head, 0);
      return from + 1;
    }
    return undefined;
  }

  /** Takes a whole head. */
  #begin(bytes: Uint8Array, at: number): void {
    const first = bytes[at] ?? 0;
    const second = bytes[at + 1] ?? 0;
    const opcode = first & 0x0f;
    const isFinal = (first & FIN) !== 0;
    if ((first & RESERVED) !== 0) throw malformed('a reserved bit is set');
    if (((second & MASK) !== 0) !== this.#isMasked) throw malformed('masked by the wrong side');
    const length = payloadBytes(bytes, at);
    this.#hasMask = false;
    if (this.#isMasked) {
      const maskAt = at + headBytes(second) - MASK_BYTES;
      for (let index = 0; index < MASK_BYTES; index++) {
        const byte = bytes[maskAt + index] ?? 0;
        this.#mask[index] = byte;
        if (byte !== 0) this.#hasMask = true;
      }
    }
    if ((opcode & CONTROL) !== 0) this.#beginControl(opcode, isFinal, length);
    else this.#beginData(opcode, isFinal, length);
    this.#isInFrame = true;
    this.#opcode = opcode;
    this.#isFinal = isFinal;
    this.#left = length;
    this.#maskAt = 0;
  }

  #beginControl(opcode: number, isFinal: boolean, length: number): void {
    if (opcode > OPCODE.pong) throw malformed(`opcode ${opcode} is unknown`);
    if (!isFinal || length > MAX_CONTROL_BYTES) throw malformed('a control frame is too long');
    this.#control = new Uint8Array(length);
  }

  #beginData(opcode: number, isFinal: boolean, length: number): void {
    if (opcode > OPCODE.binary) throw malformed(`opcode ${opcode} is unknown`);
    const isContinued = opcode === OPCODE.continuation;
    if (isContinued !== this.#isInMessage) {
      throw malformed(isContinued ? 'nothing is to be continued' : 'a message is not over yet');
    }
    if (!isContinued) this.#messageBytes = 0;
    this.#messageBytes += length;
    if (this.#messageBytes > this.#maxMessageBytes) {
      throw new FrameError(CLOSE_CODE.tooBig, 'a message is larger than the limit');
    }
    if (isContinued) return;
    this.#isInMessage = true;
    this.#sink.onMessage(opcode === OPCODE.binary, isFinal ? length : undefined);
  }

  #takePayload(piece: Uint8Array): void {
    if (piece.length > 0) {
      if (this.#hasMask) this.#unmask(piece);
      if (this.#control === undefined) this.#sink.onPayload(piece);
      else this.#control.set(piece, this.#control.length - this.#left);
    }
    this.#left -= piece.length;
    if (this.#left > 0) return;
    this.#isInFrame = false;
    if (this.#control !== undefined) {
      const payload = this.#control;
      this.#control = undefined;
      this.#sink.onControl(this.#opcode, payload);
    } else if (this.#isFinal) {
      this.#isInMessage = false;
      this.#sink.onMessageEnd();
    }
  }

  #unmask(piece: Uint8Array): void {
    applyMask(piece, this.#mask, this.#maskAt);
    this.#maskAt = (this.#maskAt + piece.length) & 3;
  }
}

/** Masks or unmasks bytes in place (section 5.3); the first of them is byte `at` of its frame's payload. */
export function applyMask(bytes: Uint8Array, mask: Uint8Array, at: number): void {
  for (let index = 0; index < bytes.length; index++) {
    bytes[index] = (bytes[index] ?? 0) ^ (mask[(at + index) & 3] ?? 0);
  }
}

/**
 * Writes the head of a whole message or a control frame into `bytes`, so that it ends at `end`; returns where
 * it starts. `mask`: the 4 bytes that the payload is masked with, if it is.
 */
export function emitHead(
  bytes: Uint8Array,
  end: number,
  frame: {readonly opcode: number; readonly length: number; readonly mask: Uint8Array | undefined},
): number {
  const {opcode, length} = frame;
  const size = length < LENGTH_16 ? 0 : length < 0x1_0000 ? 2 : 8;
  const start = end - (frame.mask === undefined ? 0 : MASK_BYTES) - size - 2;
  const mask = frame.mask === undefined ? 0 : MASK;
  bytes[start] = FIN | opcode;
  if (size === 0) {
    bytes[start + 1] = mask | length;
  } else if (size === 2) {
    bytes[start + 1] = mask | LENGTH_16;
    writeNumber(bytes, start + 2, 2, length);
  } else {
    bytes[start + 1] = mask | LENGTH_64;
    writeNumber(bytes, start + 2, 4, Math.floor(length / 0x1_0000_0000));
    writeNumber(bytes, start + 6, 4, length >>> 0);
  }
  if (frame.mask !== undefined) bytes.set(frame.mask, end - MASK_BYTES);
  return start;
}

/** Returns the code of a close frame's payload. Throws FrameError for one that can't be. */
export function closeCodeOf(payload: Uint8Array): number {
  if (payload.length === 0) return CLOSE_CODE.noStatus;
  if (payload.length === 1) throw malformed('half a code');
  return readNumber(payload, 0, 2);
}

/** The length of a head, by its second byte. */
function headBytes(second: number): number {
  const length = second & 0x7f;
  const size = length === LENGTH_64 ? 8 : length === LENGTH_16 ? 2 : 0;
  return 2 + size + ((second & MASK) === 0 ? 0 : MASK_BYTES);
}

function payloadBytes(bytes: Uint8Array, at: number): number {
  const length = (bytes[at + 1] ?? 0) & 0x7f;
  if (length < LENGTH_16) return length;
  if (length === LENGTH_16) return readNumber(bytes, at + 2, 2);
  const high = readNumber(bytes, at + 2, 4);
  // Far above any limit, and no number that can be computed with.
  if (high > 0x1f_ffff) {
    throw new FrameError(CLOSE_CODE.tooBig, 'a message is larger than the limit');
  }
  return high * 0x1_0000_0000 + readNumber(bytes, at + 6, 4);
}

function malformed(what: string): FrameError {
  return new FrameError(CLOSE_CODE.protocolError, `the peer breaks RFC 6455: ${what}`);
}

function readNumber(bytes: Uint8Array, at: number, size: number): number {
  let value = 0;
  for (let index = 0; index < size; index++) value = value * 256 + (bytes[at + index] ?? 0);
  return value;
}

function writeNumber(bytes: Uint8Array, at: number, size: number, value: number): void {
  for (let index = 0; index < size; index++) bytes[at + index] = value >>> (8 * (size - 1 - index));
}
