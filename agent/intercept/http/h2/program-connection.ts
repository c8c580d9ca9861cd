/**
 * A connection of HTTP/2 into a client's program, which answers streams of one client's connection, or gets copies of
 * them.
 *
 * It is long: the windows are what a laptop needs at 60 ms, and what the program sends beyond what the client
 * takes waits here, within them. Requests wait for their turn where the program takes only so many at a time.
 */

import type {StreamSocket} from '../../../../sockets/types.ts';
import {type Block, Http2Error} from './blocks.ts';
import type {Sink} from './body-queue.ts';
import type {FrameReader} from './frames.ts';
import type {Field} from './hpack/field.ts';
import {CLOSE_MS, READ_BYTES, UNREAD_BYTES, WRITE_BYTES} from './limits.ts';
import {type ConnectionEvents, Link, type LinkEvents, type Setting} from './link.ts';
import {
  ACK,
  DEFAULT_WINDOW_BYTES,
  ENABLE_PUSH,
  END_STREAM,
  FLOW_CONTROL_ERROR,
  INITIAL_WINDOW_SIZE,
  MAX_31,
  NO_ERROR,
  PING,
  PREFACE,
  PROTOCOL_ERROR,
} from './protocol.ts';

/** What a stream may send us unread: 130 Mbit/s at 60 ms. */
const STREAM_WINDOW_BYTES = 1_048_576;
/** What all streams may. */
const WINDOW_BYTES = 4_194_304;

/** What becomes of a request. */
export interface AnswerEvents {
  onHead(block: Block, isLast: boolean): void;
  /** Bytes that are lent. Whoever takes them says `consumed`. */
  onData(bytes: Buffer, isLast: boolean): void;
  onReset(code: number): void;
  /** The program is gone, or will not look at the request. */
  onLost(): void;
  /** There is room for more of the request. */
  onRoom(): void;
}

export interface ProgramOwner {
  /** Something has happened: what was written is to leave. */
  onTurn(): void;
  /** It takes no more requests. */
  onGone(connection: ProgramConnection): void;
  /** It is over. */
  onClosed(connection: ProgramConnection): void;
  onMistake(error: unknown): void;
}

export class ProgramStream implements Sink {
  id = 0;
  /** What may be sent, and received. */
  window = 0;
  receiveWindow = STREAM_WINDOW_BYTES;
  unacknowledged = 0;
  isUpOver: boolean;
  isDownOver = false;
  readonly fields: readonly Field[];
  readonly events: AnswerEvents;
  readonly #connection: ProgramConnection;

  constructor(
    connection: ProgramConnection,
    fields: readonly Field[],
    {isWhole, events}: {readonly isWhole: boolean; readonly events: AnswerEvents},
  ) {
    this.#connection = connection;
    this.fields = fields;
    this.isUpOver = isWhole;
    this.events = events;
  }

  get room(): number {
    return this.#connection.roomFor(this);
  }

  sendData(bytes: Uint8Array, isLast: boolean): void {
    this.#connection.sendData(this, bytes, isLast);
  }

  sendTrailers(fields: readonly Field[]): void {
    this.#connection.sendTrailers(this, fields);
  }

  reset(code: number): void {
    this.#connection.reset(this, code);
  }

  /** Bytes of the answer wait no more. */
  consumed(bytes: number): void {
    this.#connection.consumed(this, bytes);
  }
}

export class ProgramConnection implements ConnectionEvents, LinkEvents {
  readonly #link: Link;
  readonly #owner: ProgramOwner;
  readonly #streams = new Map<number, ProgramStream>();
  #waiting: ProgramStream[] = [];
  #lastId = -1;
  #window = DEFAULT_WINDOW_BYTES;
  #receiveWindow = WINDOW_BYTES;
  #unacknowledged = 0;
  #isGone = false;
  #isClosing = false;
  #linger: NodeJS.Timeout | undefined;

  constructor(socket: StreamSocket, owner: ProgramOwner) {
    this.#owner = owner;
    this.#link = new Link(socket, this, this);
    const {output} = this.#link;
    // Before a program gets a request, it has to be noted that it is the program's (Succession).
    output.isWhole = true;
    output.write(PREFACE);
    output.settings([
      [ENABLE_PUSH, 0],
      [INITIAL_WINDOW_SIZE, STREAM_WINDOW_BYTES],
    ]);
    output.windowUpdate(0, WINDOW_BYTES - DEFAULT_WINDOW_BYTES);
    if (socket.isClosed) this.#gone();
    else socket.readBytes = READ_BYTES;
  }

  /** It takes no more requests. */
  get isGone(): boolean {
    return this.#isGone;
  }

  /** Sends a request. */
  ask(
    fields: readonly Field[],
    how: {readonly isWhole: boolean; readonly events: AnswerEvents},
  ): ProgramStream {
    const stream = new ProgramStream(this, fields, how);
    if (this.#link.socket.isClosed) {
      queueMicrotask(() => how.events.onLost());
      return stream;
    }
    this.#waiting.push(stream);
    this.#openStreams();
    return stream;
  }

  /** Takes no more requests, and ends after those that there are, which have little time left. */
  close(): void {
    if (this.#isClosing || this.#link.socket.isClosed) return;
    this.#isClosing = this.#isGone = true;
    this.#link.output.goaway(0, NO_ERROR, Buffer.alloc(0));
    this.#linger = setTimeout(() => this.#link.socket.destroy(), CLOSE_MS);
    this.#endIfIdle();
    this.turn();
  }

  /** After whatever was written: gives it to the socket, and reads on if that is good. */
  turn(): void {
    const {socket, output} = this.#link;
    output.flush();
    if (!socket.isClosed) socket.readBytes = socket.bufferedBytes < UNREAD_BYTES ? READ_BYTES : 0;
  }

  // ---- of streams ----

  roomFor(stream: ProgramStream): number {
    const {socket, output} = this.#link;
    if (stream.id === 0 || stream.isUpOver || socket.bufferedBytes >= WRITE_BYTES) return 0;
    return Math.min(stream.window, this.#window, output.maxFrameBytes);
  }

  sendData(stream: ProgramStream, bytes: Uint8Array, isLast: boolean): void {
    stream.window -= bytes.length;
    this.#window -= bytes.length;
    this.#link.output.data(stream.id, bytes, isLast);
    if (isLast) this.#upOver(stream);
  }

  sendTrailers(stream: ProgramStream, fields: readonly Field[]): void {
    this.#link.heads.send(stream.id, {fields, isLast: true});
    this.#upOver(stream);
  }

  reset(stream: ProgramStream, code: number): void {
    if (stream.id === 0) this.#waiting = this.#waiting.filter((one) => one !== stream);
    if (!this.#streams.delete(stream.id)) return;
    this.#link.output.reset(stream.id, code);
    this.#openStreams();
    this.#endIfIdle();
  }

  consumed(stream: ProgramStream, bytes: number): void {
    this.#consumed(bytes);
    stream.unacknowledged += bytes;
    if (stream.isDownOver || stream.unacknowledged < STREAM_WINDOW_BYTES / 2) return;
    if (!this.#streams.has(stream.id)) return;
    this.#link.output.windowUpdate(stream.id, stream.unacknowledged);
    stream.receiveWindow += stream.unacknowledged;
    stream.unacknowledged = 0;
  }

  #consumed(bytes: number): void {
    this.#unacknowledged += bytes;
    if (this.#unacknowledged < WINDOW_BYTES / 2 || this.#link.socket.isClosed) return;
    this.#link.output.windowUpdate(0, this.#unacknowledged);
    this.#receiveWindow += this.#unacknowledged;
    this.#unacknowledged = 0;
  }

  #openStreams(): void {
    while (this.#waiting.length > 0 && this.#streams.size < this.#link.maxStreams) {
      const stream = this.#waiting.shift();
      if (stream === undefined) break;
      this.#lastId += 2;
      stream.id = this.#lastId;
      stream.window = this.#link.windowBytes;
      this.#streams.set(stream.id, stream);
      this.#link.heads.send(stream.id, {fields: stream.fields, isLast: stream.isUpOver});
      if (!stream.isUpOver) stream.events.onRoom();
    }
  }

  #upOver(stream: ProgramStream): void {
    stream.isUpOver = true;
    this.#removeIfOver(stream);
  }

  #downOver(stream: ProgramStream): void {
    stream.isDownOver = true;
    this.#removeIfOver(stream);
  }

  #removeIfOver(stream: ProgramStream): void {
    if (!stream.isUpOver || !stream.isDownOver) return;
    this.#streams.delete(stream.id);
    this.#openStreams();
    this.#endIfIdle();
  }

  // ---- the program says ----

  onHead(block: Block, isLast: boolean): void {
    const stream = this.#streams.get(this.#link.blocks.streamId);
    if (stream === undefined || stream.isDownOver) return;
    if (isLast) this.#downOver(stream);
    stream.events.onHead(block, isLast);
  }

  onData(frame: FrameReader): void {
    this.#receiveWindow -= frame.flowBytes;
    if (this.#receiveWindow < 0) throw new Http2Error(FLOW_CONTROL_ERROR);
    const stream = this.#streams.get(frame.streamId);
    const bytes = frame.bytes.subarray(frame.start, frame.end);
    if (stream === undefined || stream.isDownOver) {
      this.#consumed(frame.flowBytes);
      return;
    }
    stream.receiveWindow -= frame.flowBytes;
    if (stream.receiveWindow < 0) throw new Http2Error(FLOW_CONTROL_ERROR);
    const isLast = (frame.flags & END_STREAM) !== 0;
    if (isLast) this.#downOver(stream);
    if (frame.flowBytes > bytes.length) stream.consumed(frame.flowBytes - bytes.length);
    stream.events.onData(bytes, isLast);
  }

  onReset(streamId: number, code: number): void {
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return;
    this.#streams.delete(streamId);
    stream.events.onReset(code);
    this.#openStreams();
    this.#endIfIdle();
  }

  onWindowUpdate(streamId: number, bytes: number): void {
    if (streamId === 0) {
      this.#window += bytes;
      if (this.#window > MAX_31) throw new Http2Error(FLOW_CONTROL_ERROR);
      this.#tellOfRoom();
      return;
    }
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return;
    stream.window += bytes;
    if (bytes === 0 || stream.window > MAX_31) {
      const code = bytes === 0 ? PROTOCOL_ERROR : FLOW_CONTROL_ERROR;
      this.reset(stream, code);
      stream.events.onReset(code);
    } else stream.events.onRoom();
  }

  onSettings(settings: readonly Setting[]): void {
    const windowChange = this.#link.apply(settings);
    this.#link.output.settingsAck();
    for (const stream of this.#streams.values()) stream.window += windowChange;
    this.#openStreams();
    this.#tellOfRoom();
  }

  onPing(payload: Buffer, isAck: boolean): void {
    if (!isAck) this.#link.output.frame(PING, ACK, 0, payload);
  }

  onGoaway(lastStreamId: number): void {
    this.#gone();
    const lost = [...this.#streams.values()].filter(({id}) => id > lastStreamId);
    for (const {id} of lost) this.#streams.delete(id);
    for (const stream of [...lost, ...this.#waiting.splice(0)]) stream.events.onLost();
    this.#endIfIdle();
  }

  onBroken(code: number): void {
    this.#link.output.goaway(0, code, Buffer.alloc(0));
    this.#link.output.flush();
    this.#link.socket.destroy();
  }

  onEnd(): void {
    // Half of a connection is of no use.
    this.#link.socket.destroy();
  }

  onClosed(): void {
    clearTimeout(this.#linger);
    this.#gone();
    const lost = [...this.#streams.values(), ...this.#waiting.splice(0)];
    this.#streams.clear();
    for (const stream of lost) stream.events.onLost();
    this.#owner.onClosed(this);
  }

  onTurn(): void {
    if (this.#link.socket.bufferedBytes < WRITE_BYTES) this.#tellOfRoom();
    this.#owner.onTurn();
  }

  onMistake(error: unknown): void {
    this.#owner.onMistake(error);
  }

  onSettingsAck(): void {}

  /** Priorities are advice. */
  onOther(): void {}

  #gone(): void {
    if (this.#isGone) return;
    this.#isGone = true;
    this.#owner.onGone(this);
  }

  #endIfIdle(): void {
    if (!this.#isGone || this.#streams.size + this.#waiting.length > 0) return;
    clearTimeout(this.#linger);
    this.#link.output.flush();
    this.#link.socket.end();
    this.#linger = setTimeout(() => this.#link.socket.destroy(), CLOSE_MS);
  }

  #tellOfRoom(): void {
    for (const stream of this.#streams.values()) if (!stream.isUpOver) stream.events.onRoom();
  }
}
