/**
 * The rest of a request that was an exchange, and is the application's by now: what has come of its body, on its way there.
 *
 * Theory of operation. While it was an exchange, the client's window for the stream was ours. It becomes the application's again: what
 * the client may send besides is only ever what the application takes besides. So sooner or later nothing waits here, and the client
 * may send as much as the application takes. From then on the stream is like any other, and passes as it is.
 */

import {BodyQueue, type Sink} from './body-queue.ts';
import type {FrameReader} from './frames.ts';
import type {Field} from './hpack/field.ts';
import {WRITE_BYTES} from './limits.ts';
import type {Link} from './link.ts';
import type {Parts} from './parts.ts';
import {END_STREAM, FLOW_CONTROL_ERROR} from './protocol.ts';
import type {Stream} from './streams.ts';

/** What there is of a request's body, and what the client believes that he may send of it. */
export interface RequestRest {
  readonly pieces: readonly Buffer[];
  readonly hasEnded: boolean;
  readonly trailers: readonly Field[] | undefined;
  readonly receiveWindow: number;
}

export class Backlog implements Sink {
  /** What the application takes of the stream. */
  window: number;
  readonly #parts: Parts;
  readonly #stream: Stream;
  readonly #application: Link;
  readonly #queue = new BodyQueue(() => undefined);
  #receiveWindow: number;
  #keptBytes = 0;

  constructor(
    parts: Parts,
    stream: Stream,
    {application, rest}: {readonly application: Link; readonly rest: RequestRest},
  ) {
    this.#parts = parts;
    this.#stream = stream;
    this.#application = application;
    this.window = application.windowBytes;
    this.#receiveWindow = rest.receiveWindow;
    for (const bytes of rest.pieces) this.#queue.add(bytes, {isLent: false, isLast: false});
    if (rest.hasEnded) this.#queue.end(rest.trailers);
  }

  /** What waits, of all that has come. */
  get rest(): RequestRest {
    const {pieces, hasEnded, trailers} = this.#queue;
    return {pieces, hasEnded, trailers, receiveWindow: this.#receiveWindow};
  }

  start(): void {
    this.#queue.start(this);
    this.#level();
  }

  // ---- the client says ----

  /** DATA, of memory that is lent. */
  onBody(frame: FrameReader): void {
    const {bytes, start, end, flags, flowBytes} = frame;
    this.#receiveWindow -= flowBytes;
    if (this.#receiveWindow < 0) {
      this.#parts.streams.resetBoth(this.#stream, FLOW_CONTROL_ERROR);
      return;
    }
    const isLast = (flags & END_STREAM) !== 0;
    this.#queue.add(bytes.subarray(start, end), {isLent: true, isLast});
    // Padding goes no further.
    this.#level();
  }

  onTrailers(fields: readonly Field[]): void {
    this.#queue.end(fields);
    this.#note();
  }

  /** The client has heard that he may send more, or less, than before. */
  changeWindows(bytes: number): void {
    this.window += bytes;
    this.#receiveWindow += bytes;
    this.onRoom();
  }

  // ---- the application takes ----

  /** It takes so much more of the stream. */
  onWindow(bytes: number): void {
    this.window += bytes;
    this.#queue.flush();
    this.#level();
  }

  /** There is room on the connection. */
  onRoom(): void {
    this.#queue.flush();
    this.#note();
  }

  /** Nothing of it is needed any more. */
  stop(): void {
    this.#queue.stop();
    this.#note();
  }

  get room(): number {
    const {toApplication, up, exchanges} = this.#parts;
    const {socket, output} = this.#application;
    const isFull = toApplication === undefined || socket.bufferedBytes >= WRITE_BYTES;
    const room = isFull ? 0 : up.room;
    if (room === 0) exchanges.isRequestWaiting = true;
    return Math.min(this.window, room, output.maxFrameBytes);
  }

  sendData(bytes: Uint8Array, isLast: boolean): void {
    this.window -= bytes.length;
    this.#parts.up.sentElse(bytes.length);
    this.#application.output.data(this.#stream.applicationId, bytes, isLast);
    if (isLast) this.#parts.streams.sent(this.#stream);
  }

  sendTrailers(fields: readonly Field[]): void {
    this.#application.heads.send(this.#stream.applicationId, {fields, isLast: true});
    this.#parts.streams.sent(this.#stream);
  }

  // ---- windows ----

  /** The client may send what the application takes besides. */
  #level(): void {
    const more = this.window - this.#queue.bytes - this.#receiveWindow;
    if (more > 0 && this.#stream.isUpOpen) {
      this.#receiveWindow += more;
      this.#parts.client.output.windowUpdate(this.#stream.id, more);
    }
    this.#note();
  }

  #note(): void {
    const {bytes, hasEnded, isDone} = this.#queue;
    const isLevel = this.window - bytes === this.#receiveWindow;
    this.#parts.exchanges.onKept(bytes - this.#keptBytes);
    this.#keptBytes = bytes;
    if (isDone || (bytes === 0 && !hasEnded && isLevel)) this.#parts.streams.settle(this.#stream);
  }
}
