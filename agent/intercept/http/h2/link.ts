/**
 * One connection of HTTP/2, as frames: reads and checks what the other side says, and keeps what belongs to the connection
 * alone, the compression of headers both ways and what the other side takes. What frames mean for streams is its owner's.
 */

import type {StreamSocket} from '../../../../sockets/types.ts';
import {type Block, Blocks, Http2Error} from './blocks.ts';
import {FrameReader, readUint32} from './frames.ts';
import {Encoder} from './hpack/encoder.ts';
import type {Field} from './hpack/field.ts';
import {type HeadersExtras, Output} from './output.ts';
import {
  ACK,
  CONTINUATION,
  DATA,
  DEFAULT_FRAME_BYTES,
  DEFAULT_WINDOW_BYTES,
  ENABLE_PUSH,
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

/** What the other side of a connection says. Any of these may throw an Http2Error. */
export interface ConnectionEvents {
  /** A block of header fields, for the stream in `blocks`. */
  onHead(block: Block, isLast: boolean): void;
  /** DATA, with what it counts for flow control. */
  onData(frame: FrameReader): void;
  onReset(streamId: number, code: number): void;
  onWindowUpdate(streamId: number, bytes: number): void;
  /** They are in force. `windowChange`: what every stream may be sent more. */
  onSettings(settings: readonly Setting[], windowChange: number): void;
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
  /** The other side has broken the protocol: nothing is read any more. */
  onBroken(code: number): void;
  /** It says no more. */
  onEnd(): void;
  onClosed(error: Error | undefined): void;
  /** Bytes, an end, or room to write: whatever came with it was told of. */
  onTurn(): void;
  /** A mistake of ours. */
  onMistake(error: unknown): void;
}

export class Link {
  readonly socket: StreamSocket;
  readonly output: Output;
  readonly blocks = new Blocks();
  readonly reader: FrameReader;
  readonly encoder = new Encoder();
  /** What the other side has said: how much of a stream it takes unread, and how many streams. */
  windowBytes = DEFAULT_WINDOW_BYTES;
  maxStreams = MAX_31;
  readonly #said: ConnectionEvents;
  readonly #events: LinkEvents;
  /** The other side has begun as RFC 9113, section 3.4 wants it. */
  #hasSettings = false;
  #isDeaf = false;

  constructor(socket: StreamSocket, said: ConnectionEvents, events: LinkEvents) {
    this.socket = socket;
    this.output = new Output(socket);
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
      onEnd: () => this.#run(() => events.onEnd()),
      onFlushed: () => {
        if (!this.output.isFlushing) events.onTurn();
      },
      onClose: (error) => this.#run(() => events.onClosed(error)),
    };
  }

  /** Reads bytes, which may be lent. */
  read(bytes: Buffer): void {
    this.#run(() => {
      const from = this.#events.onBytes?.(bytes) ?? 0;
      if (from < bytes.length && !this.#isDeaf)
        this.reader.push(from > 0 ? bytes.subarray(from) : bytes);
    });
  }

  /** What is read from now on is nobody's. */
  stopReading(): void {
    this.#isDeaf = true;
    this.reader.stop();
  }

  /** Sends fields; those of a block are encoded once for as long as that stays the same. */
  sendHead(
    streamId: number,
    head: {readonly fields: readonly Field[]; readonly block?: Block; readonly isLast: boolean},
    extras?: HeadersExtras,
  ): void {
    const {fields, block, isLast} = head;
    const {encoder} = this;
    const {generation} = encoder;
    const known = block?.encoded;
    if (known !== undefined && known.fields === fields && known.generation === generation) {
      this.output.headers(streamId, known.bytes, isLast, extras);
      return;
    }
    const bytes = encoder.encode(fields);
    if (block !== undefined && encoder.generation === generation)
      block.encoded = {fields, generation, bytes: Buffer.from(bytes)};
    this.output.headers(streamId, bytes, isLast, extras);
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
    if (!this.#hasSettings && (frame.type !== SETTINGS || (frame.flags & ACK) !== 0))
      throw new Http2Error(PROTOCOL_ERROR);
    if (this.blocks.isOpen && frame.type !== CONTINUATION) throw new Http2Error(PROTOCOL_ERROR);
    switch (frame.type) {
      case DATA:
        needStream(frame, true);
        this.#said.onData(frame);
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
      case PUSH_PROMISE:
        // A client must not, and a server was told not to.
        throw new Http2Error(PROTOCOL_ERROR);
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
    const block = this.blocks.take(frame);
    if (block !== undefined) this.#said.onHead(block, (this.blocks.flags & 1) !== 0);
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
    const before = this.windowBytes;
    const settings: Setting[] = [];
    for (let at = start; at < end; at += 6) {
      const id = ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
      const value = readUint32(bytes, at + 2) >>> 0;
      settings.push([id, value]);
      this.#apply(id, value);
    }
    this.#said.onSettings(settings, this.windowBytes - before);
  }

  #apply(id: number, value: number): void {
    if (id === HEADER_TABLE_SIZE) this.encoder.limitTable(value);
    else if (id === ENABLE_PUSH && value > 1) throw new Http2Error(PROTOCOL_ERROR);
    else if (id === MAX_CONCURRENT_STREAMS) this.maxStreams = value;
    else if (id === INITIAL_WINDOW_SIZE) {
      if (value > MAX_31) throw new Http2Error(FLOW_CONTROL_ERROR);
      this.windowBytes = value;
    } else if (id === MAX_FRAME_SIZE) {
      if (value < DEFAULT_FRAME_BYTES || value > LARGEST_FRAME_BYTES)
        throw new Http2Error(PROTOCOL_ERROR);
      this.output.maxFrameBytes = value;
    }
  }
}

function needStream({streamId}: FrameReader, isNeeded: boolean): void {
  if ((streamId !== 0) !== isNeeded) throw new Http2Error(PROTOCOL_ERROR);
}

function needLength({start, end}: FrameReader, length: number): void {
  if (end - start !== length) throw new Http2Error(FRAME_SIZE_ERROR);
}
