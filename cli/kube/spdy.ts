/**
 * SPDY/3.1, as far as a port-forward needs it: one connection to one port of a pod. Sans-IO.
 *
 * Theory of operation. A port-forward's two streams, `error` and `data`, are opened by one SYN_STREAM each; when
 * the other side has answered both, data may be sent. All that follows is DATA, until a stream ends. There
 * is no flow control in what Kubernetes speaks (moby/spdystream ignores windows): the connection below
 * has it.
 *
 * Header blocks are deflated in one stream for the whole connection (SPDY/3.1, section 2.6.10). We send two: the
 * first begins the zlib stream, without the dictionary, which is optional; the second goes on with it.
 * What the other side says in its headers is not read.
 */

import {constants, deflateRawSync, deflateSync} from 'node:zlib';

/** The bytes in front of data. */
export const SPDY_HEAD_BYTES = 8;
/** The longest payload that its head can tell. */
const maxPayload = 0xff_ffff;
/** A control frame that is kept until it is whole: answers and complaints are short, bytes. */
const maxControl = 64 * 1024;

const controlVersion = 0x80_03;
const type = {synStream: 1, synReply: 2, rstStream: 3, ping: 6, goAway: 7} as const;
const finFlag = 1;
/** Streams of a client have odd numbers. */
const errorStream = 1;
const dataStream = 3;

/** What the other side has said. */
export interface SpdySink {
  /** Both streams are answered. */
  onOpen(): void;
  /** Bytes of the port: a view of what was pushed. */
  onData(piece: Uint8Array): void;
  /** A piece of what the kubelet complains about. */
  onComplaint(piece: Uint8Array): void;
  /** The port's side has ended. */
  onEnd(): void;
  onPong(): void;
  /** Something that must be sent. */
  onReply(frame: Uint8Array): void;
}

/** The other side does not speak SPDY/3.1. */
export class SpdyError extends Error {}

/** Reads what comes over a connection, and makes what is to be sent. */
export class Spdy {
  readonly headBytes = SPDY_HEAD_BYTES;
  readonly #sink: SpdySink;
  readonly #answered = new Set<number>();
  readonly #head = Buffer.alloc(SPDY_HEAD_BYTES);
  #headBytes = 0;
  /** The frame under way: whose data, or undefined for a control frame; and what is missing of it. */
  #isInFrame = false;
  #stream: number | undefined;
  #type = 0;
  #flags = 0;
  #left = 0;
  #control = Buffer.alloc(0);
  #nextPing = 1;

  constructor(sink: SpdySink) {
    this.#sink = sink;
  }

  /** Returns what opens the streams to a port. */
  open(port: number): Uint8Array {
    const headers = {port: String(port), requestid: '0'};
    const first = deflateSync(headerBlock({...headers, streamtype: 'error'}), syncFlush);
    const second = deflateRawSync(headerBlock({...headers, streamtype: 'data'}), syncFlush);
    // Nothing is to be said on the first.
    return Buffer.concat([
      synStream(errorStream, finFlag, first),
      synStream(dataStream, 0, second),
    ]);
  }

  /** Writes the head of so many bytes of data so that it ends at `end`. */
  writeHead(buffer: Buffer, end: number, bytes: number): void {
    if (bytes > maxPayload) throw new RangeError('too much for one frame');
    buffer.writeUInt32BE(dataStream, end - SPDY_HEAD_BYTES);
    buffer.writeUInt32BE(bytes, end - SPDY_HEAD_BYTES + 4);
  }

  /** Returns what asks for a sign of life. */
  ping(): Uint8Array {
    const id = this.#nextPing;
    this.#nextPing = (id + 2) % 0x7fff_ffff;
    return pingFrame(id);
  }

  /** Takes bytes as they come. Throws SpdyError. */
  push(bytes: Uint8Array): void {
    let at = 0;
    for (;;) {
      if (!this.#isInFrame) {
        const count = Math.min(SPDY_HEAD_BYTES - this.#headBytes, bytes.length - at);
        this.#head.set(bytes.subarray(at, at + count), this.#headBytes);
        this.#headBytes += count;
        at += count;
        if (this.#headBytes < SPDY_HEAD_BYTES) return;
        this.#begin();
      }
      if (this.#left > 0 && at === bytes.length) return;
      const count = Math.min(this.#left, bytes.length - at);
      this.#left -= count;
      this.#take(bytes.subarray(at, at + count));
      at += count;
    }
  }

  #begin(): void {
    const first = this.#head.readUInt16BE(0);
    this.#headBytes = 0;
    this.#isInFrame = true;
    this.#flags = this.#head[4] ?? 0;
    this.#left = this.#head.readUIntBE(5, 3);
    if ((first & 0x8000) === 0) {
      this.#stream = this.#head.readUInt32BE(0);
      return;
    }
    if (first !== controlVersion) throw new SpdyError('no frame of SPDY/3.1');
    this.#stream = undefined;
    this.#type = this.#head.readUInt16BE(2);
    if (this.#left > maxControl) throw new SpdyError('a control frame is too long');
    this.#control = Buffer.alloc(0);
  }

  #take(piece: Uint8Array): void {
    const isOver = this.#left === 0;
    if (isOver) this.#isInFrame = false;
    if (this.#stream === undefined) {
      if (piece.length > 0) this.#control = Buffer.concat([this.#control, piece]);
      if (isOver) this.#takeControl(this.#control);
      return;
    }
    if (piece.length > 0) {
      if (this.#stream === dataStream) this.#sink.onData(piece);
      else if (this.#stream === errorStream) this.#sink.onComplaint(piece);
    }
    if (isOver && (this.#flags & finFlag) !== 0) this.#ended(this.#stream);
  }

  #takeControl(payload: Buffer): void {
    if (this.#type === type.goAway) {
      this.#sink.onEnd();
      return;
    }
    // What else there is concerns nobody here, as there are no windows.
    const isKnown =
      this.#type === type.synReply || this.#type === type.rstStream || this.#type === type.ping;
    if (!isKnown) return;
    if (payload.length < 4) throw new SpdyError('a control frame is too short');
    const id = payload.readUInt32BE(0) & 0x7fff_ffff;
    if (this.#type === type.ping) {
      if (id % 2 === 0) this.#sink.onReply(pingFrame(id));
      else this.#sink.onPong();
    } else if (this.#type === type.rstStream) {
      this.#ended(id);
    } else {
      this.#answered.add(id);
      if (this.#answered.size === 2) this.#sink.onOpen();
      if ((this.#flags & finFlag) !== 0) this.#ended(id);
    }
  }

  #ended(stream: number): void {
    if (stream === dataStream) this.#sink.onEnd();
  }
}

const syncFlush = {finishFlush: constants.Z_SYNC_FLUSH} as const;

/** Section 2.6.10: the number of pairs, and each name and value after its length. */
function headerBlock(headers: Readonly<Record<string, string>>): Buffer {
  const pairs = Object.entries(headers);
  const number = (value: number): Buffer => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(value);
    return bytes;
  };
  const text = (value: string): Buffer[] => [number(value.length), Buffer.from(value, 'latin1')];
  return Buffer.concat([number(pairs.length), ...pairs.flat().flatMap(text)]);
}

function controlFrame(kind: number, flags: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(SPDY_HEAD_BYTES);
  head.writeUInt16BE(controlVersion, 0);
  head.writeUInt16BE(kind, 2);
  head.writeUInt32BE(payload.length, 4);
  head[4] = flags;
  return Buffer.concat([head, payload]);
}

/** Section 2.6.1: the stream, no associated one, the highest priority, no slot, the headers. */
function synStream(stream: number, flags: number, headers: Buffer): Buffer {
  const ids = Buffer.alloc(10);
  ids.writeUInt32BE(stream, 0);
  return controlFrame(type.synStream, flags, Buffer.concat([ids, headers]));
}

function pingFrame(id: number): Buffer {
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(id);
  return controlFrame(type.ping, 0, payload);
}
