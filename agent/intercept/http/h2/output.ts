/**
 * What is said on one connection: frames, gathered until the end of the turn, then given to the socket at once.
 *
 * What is small is copied into memory that is used again after the turn; payload that is large goes to the socket from
 * where it lies. So whatever is lent must stay until `flush`.
 *
 * A frame may be passed on in parts, as it comes (`passPart`). Until its end is there, whatever else is said is set aside: it
 * would lie in the middle of it.
 */

import type {StreamSocket} from '../../../../sockets/types.ts';
import {type FrameReader, writeFrameHeader, writeUint32} from './frames.ts';
import {
  ACK,
  CONTINUATION,
  DATA,
  DEFAULT_FRAME_BYTES,
  END_HEADERS,
  END_STREAM,
  FRAME_HEADER_BYTES,
  GOAWAY,
  HAS_PRIORITY,
  HEADERS,
  PADDED,
  PUSH_PROMISE,
  RST_STREAM,
  SETTINGS,
  WINDOW_UPDATE,
} from './protocol.ts';

const GATHER_BYTES = 16_384;
/** Payload above it is not copied. */
const COPIED_BYTES = 2048;
/** Memory that waits for the next who needs it. */
const MAX_SPARE = 16;

const spare: Buffer[] = [];

/** Beside a block, what its HEADERS has. */
export interface HeadersExtras {
  readonly dependency?: number;
  readonly weight?: number;
  /** Bytes of padding; -1: none, and no length of it either. */
  readonly padding?: number;
  /** It is a PUSH_PROMISE, of this stream. */
  readonly promisedId?: number;
}

export class Output {
  /** What the other side takes: SETTINGS_MAX_FRAME_SIZE. */
  maxFrameBytes = DEFAULT_FRAME_BYTES;
  /**
   * Hears that what is said next has `length` bytes, `more` of which did not come so, behind `waiting` that the socket does not
   * have yet.
   */
  onLonger: ((length: number, more: number, waiting: number) => void) | undefined;
  /** Nothing leaves before `flush`, how much ever it is. */
  isWhole = false;
  readonly #socket: StreamSocket;
  #gathered: Buffer | undefined;
  /** What of it is already the socket's, and what is used. */
  #given = 0;
  #at = 0;
  /** Frames that are passed on from where they lie, one behind the other. */
  #run: Buffer | undefined;
  #runStart = 0;
  #runEnd = 0;
  /** What is still to come of a frame that is passed on in parts; and what waits for its end. */
  #openBytes = 0;
  #aside: Buffer[] = [];
  #asideBytes = 0;
  #isDirty = false;
  #isFlushing = false;
  /** Writes what has to come first. */
  #greet: (() => void) | undefined;

  constructor(socket: StreamSocket) {
    this.#socket = socket;
  }

  /** Whatever is said first, `greet` says something before it; undefined: that is no longer needed. */
  set greeting(greet: (() => void) | undefined) {
    this.#greet = greet;
  }

  /** What the socket tells of now is our own doing. */
  get isFlushing(): boolean {
    return this.#isFlushing;
  }

  /** A frame is passed on of which only a part has come. */
  get isOpen(): boolean {
    return this.#openBytes > 0;
  }

  /** What waits for the end of such a frame. */
  get asideBytes(): number {
    return this.#asideBytes;
  }

  /** Gives the socket what was gathered. */
  gather(): void {
    if (!this.#isDirty) return;
    this.#endRun();
    this.#give();
  }

  /** Gives the kernel what was gathered. Nothing that was lent is needed afterwards. */
  flush(): void {
    if (!this.#isDirty) return;
    this.gather();
    this.#isDirty = false;
    this.#flushSocket();
    if (this.#gathered !== undefined && spare.length < MAX_SPARE) spare.push(this.#gathered);
    this.#gathered = undefined;
    this.#at = this.#given = 0;
  }

  /** Bytes as they are. */
  write(bytes: Uint8Array): void {
    if (bytes.length > COPIED_BYTES) {
      this.#begin();
      this.#give();
      this.#write(bytes);
      return;
    }
    const into = this.#room(bytes.length);
    into.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  /** A frame with a payload of somebody else's. */
  frame(type: number, flags: number, streamId: number, payload: Uint8Array): void {
    this.#header({length: payload.length, type, flags, streamId});
    this.write(payload);
  }

  /** A block of header fields, in as many frames as it needs. */
  headers(streamId: number, block: Buffer, isLast: boolean, extras?: HeadersExtras): void {
    let flags = isLast ? END_STREAM : 0;
    let overhead = 0;
    const padding = extras?.padding ?? -1;
    const isPadded = padding >= 0 && block.length + padding + 6 <= this.maxFrameBytes;
    if (isPadded) {
      flags |= PADDED;
      overhead += 1 + padding;
    }
    const {dependency, weight = 0, promisedId} = extras ?? {};
    if (dependency !== undefined) {
      flags |= HAS_PRIORITY;
      overhead += 5;
    }
    if (promisedId !== undefined) overhead += 4;
    const first = Math.min(block.length, this.maxFrameBytes - overhead);
    if (first === block.length) flags |= END_HEADERS;
    const type = promisedId === undefined ? HEADERS : PUSH_PROMISE;
    this.#header({length: first + overhead, type, flags, streamId});
    const into = this.#room(6);
    if (isPadded) into[this.#at++] = padding;
    if (promisedId !== undefined) this.#word(promisedId);
    if (dependency !== undefined) {
      writeUint32(into, this.#at, dependency);
      into[this.#at + 4] = weight;
      this.#at += 5;
    }
    this.write(block.subarray(0, first));
    if (isPadded) this.#room(padding).fill(0, this.#at, this.#at + padding);
    if (isPadded) this.#at += padding;
    for (let at = first; at < block.length; ) {
      const length = Math.min(block.length - at, this.maxFrameBytes);
      const end = at + length === block.length ? END_HEADERS : 0;
      this.#header({length, type: CONTINUATION, flags: end, streamId});
      this.write(block.subarray(at, at + length));
      at += length;
    }
  }

  /** A whole frame that was read, of another stream if it has another number here. */
  pass(frame: FrameReader, streamId: number): void {
    const {bytes, rawStart} = frame;
    if (streamId !== frame.streamId) {
      this.#passAs(frame, streamId);
      return;
    }
    if (this.#run !== bytes || this.#runEnd !== rawStart) {
      this.#begin();
      this.#run = bytes;
      this.#runStart = rawStart;
    }
    this.#runEnd = frame.rawEnd;
  }

  /**
   * The same by another number. What was read stays as it is: should we be killed, others read it once more (Succession).
   */
  #passAs({type, flags, bytes, rawStart, rawEnd}: FrameReader, streamId: number): void {
    const payload = bytes.subarray(rawStart + FRAME_HEADER_BYTES, rawEnd);
    this.frame(type, flags, streamId, payload);
  }

  /** The next part of a frame of DATA that was read, as it is. */
  passPart({bytes, rawStart, rawEnd, left}: FrameReader): void {
    this.#begin();
    if (this.#openBytes === 0) this.#give();
    this.#openBytes = left;
    this.#socket.writeLent(bytes.subarray(rawStart, rawEnd));
    if (left > 0) return;
    for (const aside of this.#aside.splice(0)) this.#socket.write(aside);
    this.#asideBytes = 0;
  }

  /** The last frame of a block that was read, and more of the block behind it. */
  passLonger(frame: FrameReader, streamId: number, more: Uint8Array): void {
    const {bytes, start, end, type, flags} = frame;
    const isPadded = type !== CONTINUATION && (flags & PADDED) !== 0;
    const padding = isPadded ? (bytes[start] ?? 0) : 0;
    const length = end - start + more.length;
    const isOneFrame = length <= this.maxFrameBytes;
    const headers = isOneFrame ? 1 : 2;
    this.#begin();
    this.onLonger?.(
      headers * FRAME_HEADER_BYTES + length,
      (headers - 1) * FRAME_HEADER_BYTES + more.length,
      this.#at - this.#given,
    );
    if (isOneFrame) {
      this.#header({length, type, flags, streamId});
      this.write(bytes.subarray(start, end - padding));
      this.write(more);
      this.write(bytes.subarray(end - padding, end));
      return;
    }
    this.frame(type, flags & ~END_HEADERS, streamId, bytes.subarray(start, end));
    this.frame(CONTINUATION, END_HEADERS, streamId, more);
  }

  /** A frame of DATA that was read, or a part of one as a frame of its own, for another stream. */
  passData(frame: FrameReader, streamId: number): void {
    if (frame.isWhole) {
      this.pass(frame, streamId);
      return;
    }
    const {bytes, start, end} = frame;
    const isLast = (frame.flags & END_STREAM) !== 0;
    if (end > start || isLast) this.data(streamId, bytes.subarray(start, end), isLast);
  }

  /** DATA, of at most what a frame may have. */
  data(streamId: number, payload: Uint8Array, isLast: boolean): void {
    this.frame(DATA, isLast ? END_STREAM : 0, streamId, payload);
  }

  reset(streamId: number, code: number): void {
    this.#header({length: 4, type: RST_STREAM, flags: 0, streamId});
    this.#word(code);
  }

  windowUpdate(streamId: number, bytes: number): void {
    this.#header({length: 4, type: WINDOW_UPDATE, flags: 0, streamId});
    this.#word(bytes);
  }

  goaway(lastStreamId: number, code: number, debug: Uint8Array): void {
    this.#header({length: 8 + debug.length, type: GOAWAY, flags: 0, streamId: 0});
    this.#word(lastStreamId);
    this.#word(code);
    this.write(debug);
  }

  /** Settings by their ids, in order. */
  settings(settings: readonly (readonly [id: number, value: number])[]): void {
    this.#header({length: settings.length * 6, type: SETTINGS, flags: 0, streamId: 0});
    for (const [id, value] of settings) {
      const into = this.#room(2);
      into[this.#at++] = id >>> 8;
      into[this.#at++] = id;
      this.#word(value);
    }
  }

  settingsAck(): void {
    this.#header({length: 0, type: SETTINGS, flags: ACK, streamId: 0});
  }

  #header(header: {length: number; type: number; flags: number; streamId: number}): void {
    writeFrameHeader(this.#room(FRAME_HEADER_BYTES), this.#at, header);
    this.#at += FRAME_HEADER_BYTES;
  }

  #word(value: number): void {
    writeUint32(this.#room(4), this.#at, value);
    this.#at += 4;
  }

  /** Memory with room for so many bytes (at most COPIED_BYTES) at `#at`. */
  #room(bytes: number): Buffer {
    this.#begin();
    if (this.#gathered === undefined) {
      this.#gathered = spare.pop() ?? Buffer.allocUnsafeSlow(GATHER_BYTES);
    } else if (this.#at + bytes > GATHER_BYTES) {
      this.#give();
      if (this.isWhole) this.#gathered = Buffer.allocUnsafeSlow(GATHER_BYTES);
      else this.#flushSocket();
      this.#at = this.#given = 0;
    }
    return this.#gathered;
  }

  #endRun(): void {
    const run = this.#run;
    this.#run = undefined;
    if (run !== undefined) this.write(run.subarray(this.#runStart, this.#runEnd));
  }

  #flushSocket(): void {
    this.#isFlushing = true;
    this.#socket.flush();
    this.#isFlushing = false;
  }

  /** Before anything is written. */
  #begin(): void {
    this.#isDirty = true;
    if (this.#run !== undefined) this.#endRun();
    const greet = this.#greet;
    this.#greet = undefined;
    greet?.();
  }

  #give(): void {
    if (this.#at === this.#given) return;
    const piece = this.#gathered?.subarray(this.#given, this.#at);
    this.#given = this.#at;
    if (piece !== undefined) this.#write(piece);
  }

  #write(bytes: Uint8Array): void {
    if (this.#openBytes === 0) {
      this.#socket.writeLent(bytes);
      return;
    }
    this.#aside.push(Buffer.from(bytes));
    this.#asideBytes += bytes.length;
  }
}
