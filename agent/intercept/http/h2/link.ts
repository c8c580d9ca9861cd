/**
 * One connection of HTTP/2, as frames: reads and checks what the other side says, and keeps what belongs to the connection
 * alone, the compression of headers both ways and what the other side takes. What frames mean for streams is its owner's.
 */

import type {StreamSocket} from '../../../../sockets/types.ts';
import {type Block, Blocks, Http2Error} from './blocks.ts';
import {FrameReader, readUint32} from './frames.ts';
import {Heads} from './heads.ts';
import {Output} from './output.ts';
import {
  ACK,
  CONTINUATION,
  DATA,
  DEFAULT_FRAME_BYTES,
  DEFAULT_WINDOW_BYTES,
  ENABLE_PUSH,
  END_STREAM,
  FLOW_CONTROL_ERROR,
  FRAME_SIZE_ERROR,
  GOAWAY,
  HEADER_TABLE_SIZE,
  HEADERS,
  INITIAL_WINDOW_SIZE,
  LARGEST_FRAME_BYTES,
  MAX_31,
  MAX_CONCURRENT_STREAMS,
  MAX_FRAME_SIZE,
  PING,
  PROTOCOL_ERROR,
  PUSH_PROMISE,
  RST_STREAM,
  SETTINGS,
  WINDOW_UPDATE,
} from './protocol.ts';

/** Settings in one frame. Ten are registered; what is unknown is passed on. */
const MAX_SETTINGS = 64;

export type Setting = readonly [id: number, value: number];

/** What the other side of a connection says. Any of these may throw an Http2Error, before anything is passed on. */
export interface ConnectionEvents {
  /** A block of header fields, for the stream in `blocks`. */
  onHead(block: Block, isLast: boolean): void;
  /** A push, with the fields of its request; without it, there must be none. */
  onPush?(block: Block): void;
  /** DATA, with what it counts for flow control. */
  onData(frame: FrameReader): void;
  onReset(streamId: number, code: number): void;
  onWindowUpdate(streamId: number, bytes: number): void;
  /** They are in force as soon as `apply` has them. */
  onSettings(settings: readonly Setting[]): void;
  onSettingsAck(): void;
  onPing(payload: Buffer, isAck: boolean): void;
  onGoaway(lastStreamId: number, code: number, debug: Buffer): void;
  /** Frames that matter to the ends: priorities, and whatever we don't know. */
  onOther(frame: FrameReader): void;
}

/** What becomes of a connection. */
export interface LinkEvents {
  /** Bytes that were read before anything of HTTP/2; returns how many are no part of it. */
  onBytes?(bytes: Buffer): number;
  /** The other side has broken the protocol, as we read it: nothing is read any more. */
  onBroken(code: number): void;
  /** It says no more. */
  onEnd(): void;
  onClosed(error: Error | undefined): void;
  /** Bytes, an end, or room to write: whatever came with it was told of. */
  onTurn(): void;
  /** A mistake of ours. */
  onMistake(error: unknown): void;
}

const NOTHING_READ: readonly Buffer[] = [];

export class Link {
  readonly socket: StreamSocket;
  readonly output: Output;
  readonly heads: Heads;
  readonly blocks: Blocks;
  readonly reader: FrameReader;
  /** What the other side has said, and is in force: how much of a stream it takes unread, and how many streams. */
  windowBytes = DEFAULT_WINDOW_BYTES;
  maxStreams = MAX_31;
  readonly #said: ConnectionEvents;
  readonly #events: LinkEvents;
  /** The other side has begun as RFC 9113, section 3.4 wants it. */
  #hasSettings = false;
  #isDeaf = false;
  #hasEnded = false;
  #withheld: Buffer[] = [];
  /** A frame was told of, and whoever heard of it has not returned. */
  #isTelling = false;
  /** What is held: the frames of a block, and bytes that came behind it. */
  #heldFrames: readonly Buffer[] = [];
  #waiting: Buffer[] = [];
  #onMore: ((bytes: Buffer | undefined) => void) | undefined;

  /** `tableBytes`: the largest table for headers that the other side may have; 4096 without it. */
  constructor(
    socket: StreamSocket,
    said: ConnectionEvents,
    events: LinkEvents,
    tableBytes?: number,
  ) {
    this.socket = socket;
    this.output = new Output(socket);
    this.heads = new Heads(this.output);
    this.blocks = new Blocks(tableBytes);
    this.#said = said;
    this.#events = events;
    this.reader = new FrameReader({
      onFrame: (frame) => this.#onFrame(frame),
      onBroken: (code) => {
        throw new Http2Error(code);
      },
    });
    socket.handler = {
      onData: (bytes) => this.read(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)),
      onEnd: () => {
        this.#hasEnded = true;
        this.#run(() => {
          if (this.#onMore === undefined) events.onEnd();
          else this.#onMore(undefined);
        });
      },
      onFlushed: () => {
        if (!this.output.isFlushing) events.onTurn();
      },
      onClose: (error) => this.#run(() => events.onClosed(error)),
    };
  }

  /** Frames of a block that is not whole, as they came. */
  get withheld(): readonly Buffer[] {
    return this.#withheld;
  }

  /** Bytes that are kept, of what the other side has said. */
  get keptBytes(): number {
    const kept = this.reader.keptBytes + bytesOf(this.#withheld);
    return kept + bytesOf(this.#heldFrames) + bytesOf(this.#waiting);
  }

  /** Nothing of ours waits for the end of a frame, and nothing for what we think. */
  get isQuiet(): boolean {
    const {socket, output} = this;
    const isReading = this.#onMore === undefined && !this.#isDeaf;
    return isReading && !socket.isClosed && output.asideBytes === 0;
  }

  /** What was read and not told of. */
  get unread(): readonly Buffer[] {
    if (this.#withheld.length === 0 && this.reader.isBetweenFrames) return NOTHING_READ;
    return [...this.#withheld, this.reader.kept];
  }

  /** Reads bytes, which may be lent. */
  read(bytes: Buffer): void {
    this.#run(() => {
      if (this.#onMore === undefined) this.#push(bytes);
      else this.#wait(Buffer.from(bytes));
    });
  }

  /** What is read from now on is nobody's. */
  stopReading(): void {
    this.#isDeaf = true;
    this.reader.stop();
  }

  // ---- what waits ----

  /**
   * Reads nothing behind the block that was completed last, until `release`: `onMore` hears of what comes, of which nothing is
   * gone afterwards, and of its end (undefined). Returns the block's frames.
   */
  hold(onMore: (bytes: Buffer | undefined) => void): readonly Buffer[] {
    const {bytes, rawStart, rawEnd} = this.reader;
    this.#heldFrames = [...this.#withheld, Buffer.from(bytes.subarray(rawStart, rawEnd))];
    this.#onMore = onMore;
    this.reader.pause();
    return this.#heldFrames;
  }

  /** Reads on. */
  release(): void {
    this.#heldFrames = [];
    this.#onMore = undefined;
    this.reader.resume();
    this.#run(() => {
      const waiting = this.#waiting.splice(0);
      for (const [at, bytes] of waiting.entries()) {
        this.#push(bytes);
        if (this.#onMore === undefined) continue;
        for (const later of waiting.slice(at + 1)) this.#wait(later);
        if (this.#hasEnded) this.#onMore?.(undefined);
        return;
      }
      if (this.#hasEnded) this.#events.onEnd();
    });
  }

  /** Returns what was read and neither told of nor passed on; it is nobody's any more. */
  takeUnread(): Buffer[] {
    const {bytes, rawStart, rawEnd} = this.reader;
    const told = this.#isTelling ? [bytes.subarray(rawStart, rawEnd)] : [];
    const unread = [...this.#heldFrames, ...this.#withheld, ...told, this.reader.takeKept()];
    unread.push(...this.#waiting);
    this.#heldFrames = [];
    this.#withheld = [];
    this.#waiting = [];
    this.#onMore = undefined;
    this.#isTelling = false;
    return unread.filter(({length}) => length > 0);
  }

  #wait(bytes: Buffer): void {
    if (bytes.length === 0) return;
    this.#waiting.push(bytes);
    this.#onMore?.(bytes);
  }

  #push(bytes: Buffer): void {
    const from = this.#events.onBytes?.(bytes) ?? 0;
    if (from === bytes.length || this.#isDeaf) return;
    const chunk = from > 0 ? bytes.subarray(from) : bytes;
    const {reader} = this;
    try {
      reader.push(chunk);
    } catch (error) {
      if (!(error instanceof Http2Error)) throw error;
      this.#break(error.code);
      // Who is not held to the protocol is passed on as he is.
      if (reader.consumed < chunk.length) this.#events.onBytes?.(chunk.subarray(reader.consumed));
      return;
    }
    if (this.#onMore !== undefined) this.#wait(Buffer.from(chunk.subarray(reader.consumed)));
  }

  // ---- settings ----

  /** Has settings of the other side in force; returns what every stream may be sent more. */
  apply(settings: readonly Setting[]): number {
    const before = this.windowBytes;
    for (const [id, value] of settings) {
      if (id === HEADER_TABLE_SIZE) this.heads.limitTable(value);
      else if (id === MAX_CONCURRENT_STREAMS) this.maxStreams = value;
      else if (id === INITIAL_WINDOW_SIZE) this.windowBytes = value;
      else if (id === MAX_FRAME_SIZE) this.output.maxFrameBytes = value;
    }
    return this.windowBytes - before;
  }

  /** Does what may turn out to be the other side's mistake, or one of ours. */
  #run(act: () => void): void {
    try {
      act();
    } catch (error) {
      if (error instanceof Http2Error) this.#break(error.code);
      else this.#events.onMistake(error);
    }
    this.#events.onTurn();
  }

  #break(code: number): void {
    this.stopReading();
    this.#events.onBroken(code);
  }

  // ---- frames ----

  #onFrame(frame: FrameReader): void {
    this.#isTelling = true;
    this.#onAnyFrame(frame);
    this.#isTelling = false;
  }

  #onAnyFrame(frame: FrameReader): void {
    if (!this.#hasSettings && (frame.type !== SETTINGS || (frame.flags & ACK) !== 0))
      throw new Http2Error(PROTOCOL_ERROR);
    if (this.blocks.isOpen && frame.type !== CONTINUATION) throw new Http2Error(PROTOCOL_ERROR);
    switch (frame.type) {
      case DATA:
        needStream(frame, true);
        this.#said.onData(frame);
        break;
      case PUSH_PROMISE:
        // A client must not, and a server may only if it was told so.
        if (this.#said.onPush === undefined) throw new Http2Error(PROTOCOL_ERROR);
        this.#onBlock(frame);
        break;
      case HEADERS:
      case CONTINUATION:
        this.#onBlock(frame);
        break;
      case RST_STREAM:
        needStream(frame, true);
        needLength(frame, 4);
        this.#said.onReset(frame.streamId, readUint32(frame.bytes, frame.start) >>> 0);
        break;
      case SETTINGS:
        needStream(frame, false);
        this.#onSettings(frame);
        break;
      case PING:
        needStream(frame, false);
        needLength(frame, 8);
        this.#said.onPing(frame.bytes.subarray(frame.start, frame.end), (frame.flags & ACK) !== 0);
        break;
      case GOAWAY:
        needStream(frame, false);
        this.#onGoaway(frame);
        break;
      case WINDOW_UPDATE:
        needLength(frame, 4);
        this.#onWindowUpdate(frame);
        break;
      default:
        this.#said.onOther(frame);
    }
  }

  #onBlock(frame: FrameReader): void {
    needStream(frame, true);
    const {blocks} = this;
    const block = blocks.take(frame);
    if (block === undefined) {
      this.#withheld.push(Buffer.from(frame.bytes.subarray(frame.rawStart, frame.rawEnd)));
      return;
    }
    if (blocks.promisedId > 0) this.#said.onPush?.(block);
    else this.#said.onHead(block, (blocks.flags & END_STREAM) !== 0);
    if (this.#withheld.length > 0) this.#withheld = [];
  }

  #onGoaway({bytes, start, end}: FrameReader): void {
    if (end - start < 8) throw new Http2Error(FRAME_SIZE_ERROR);
    const last = readUint32(bytes, start) & MAX_31;
    this.#said.onGoaway(last, readUint32(bytes, start + 4) >>> 0, bytes.subarray(start + 8, end));
  }

  #onWindowUpdate({bytes, start, streamId}: FrameReader): void {
    const count = readUint32(bytes, start) & MAX_31;
    // Section 6.9: for a stream it is an error of the stream, which is for whoever has it.
    if (count === 0 && streamId === 0) throw new Http2Error(PROTOCOL_ERROR);
    this.#said.onWindowUpdate(streamId, count);
  }

  #onSettings({bytes, start, end, flags}: FrameReader): void {
    if ((flags & ACK) !== 0) {
      if (end !== start) throw new Http2Error(FRAME_SIZE_ERROR);
      this.#said.onSettingsAck();
      return;
    }
    if ((end - start) % 6 !== 0 || end - start > 6 * MAX_SETTINGS)
      throw new Http2Error(FRAME_SIZE_ERROR);
    this.#hasSettings = true;
    const settings: Setting[] = [];
    for (let at = start; at < end; at += 6) {
      const id = ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
      const value = readUint32(bytes, at + 2) >>> 0;
      checkSetting(id, value);
      settings.push([id, value]);
    }
    this.#said.onSettings(settings);
  }
}

/** Section 6.5.2. */
function checkSetting(id: number, value: number): void {
  if (id === ENABLE_PUSH && value > 1) throw new Http2Error(PROTOCOL_ERROR);
  if (id === INITIAL_WINDOW_SIZE && value > MAX_31) throw new Http2Error(FLOW_CONTROL_ERROR);
  if (id !== MAX_FRAME_SIZE) return;
  if (value < DEFAULT_FRAME_BYTES || value > LARGEST_FRAME_BYTES)
    throw new Http2Error(PROTOCOL_ERROR);
}

function bytesOf(all: readonly Buffer[]): number {
  let bytes = 0;
  for (const {length} of all) bytes += length;
  return bytes;
}

function needStream({streamId}: FrameReader, isNeeded: boolean): void {
  if ((streamId !== 0) !== isNeeded) throw new Http2Error(PROTOCOL_ERROR);
}

function needLength({start, end}: FrameReader, length: number): void {
  if (end - start !== length) throw new Http2Error(FRAME_SIZE_ERROR);
}
