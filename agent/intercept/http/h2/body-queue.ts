/** The body of a message on its way to a stream: what that does not take yet waits here. */

import type {Field} from './hpack/field.ts';

/** A stream that takes a body. */
export interface Sink {
  /** How many bytes of DATA may be sent now. */
  readonly room: number;
  sendData(bytes: Uint8Array, isLast: boolean): void;
  sendTrailers(fields: readonly Field[]): void;
}

const NOTHING = Buffer.alloc(0);

export class BodyQueue {
  readonly #onSent: (bytes: number) => void;
  #queue: Buffer[] = [];
  #bytes = 0;
  #sink: Sink | undefined;
  #hasEnded = false;
  #trailers: readonly Field[] | undefined;
  #isDone = false;

  /** `onSent` hears of what waits no more. */
  constructor(onSent: (bytes: number) => void) {
    this.#onSent = onSent;
  }

  /** Bytes that wait. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The same, in pieces; and the trailers behind them. */
  get pieces(): readonly Buffer[] {
    return this.#queue;
  }

  get trailers(): readonly Field[] | undefined {
    return this.#trailers;
  }

  /** Everything was sent, or nothing will be. */
  get isDone(): boolean {
    return this.#isDone;
  }

  /** Nothing more will be added. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** Adds bytes, which may be lent if `isLent`: what is not sent at once is copied then. */
  add(bytes: Buffer, {isLent, isLast}: {readonly isLent: boolean; readonly isLast: boolean}): void {
    if (this.#isDone) {
      this.#onSent(bytes.length);
      return;
    }
    if (isLast) this.#hasEnded = true;
    if (bytes.length > 0) this.#queue.push(bytes);
    this.#bytes += bytes.length;
    this.flush();
    const left = this.#queue.at(-1);
    if (isLent && left !== undefined) this.#queue[this.#queue.length - 1] = Buffer.from(left);
  }

  /** It ends, maybe with trailers. */
  end(trailers: readonly Field[] | undefined): void {
    this.#hasEnded = true;
    this.#trailers = trailers;
    this.flush();
  }

  /** Sends what there is, and what comes. `isWhole`: the stream knows already that there is no body. */
  start(sink: Sink, isWhole = false): void {
    this.#sink = sink;
    this.#isDone = isWhole;
    this.flush();
  }

  /** Nothing is sent any more. */
  stop(): void {
    const {bytes} = this;
    this.#isDone = true;
    this.#sink = undefined;
    this.#queue = [];
    this.#bytes = 0;
    if (bytes > 0) this.#onSent(bytes);
  }

  /** Sends what there is room for. */
  flush(): void {
    const sink = this.#sink;
    if (sink === undefined || this.#isDone) return;
    for (let first = this.#queue[0]; first !== undefined; first = this.#queue[0]) {
      const count = Math.min(first.length, sink.room);
      if (count <= 0) return;
      if (count === first.length) this.#queue.shift();
      else this.#queue[0] = first.subarray(count);
      this.#bytes -= count;
      const isLast = this.#hasEnded && this.#queue.length === 0 && this.#trailers === undefined;
      this.#isDone = isLast;
      sink.sendData(count === first.length ? first : first.subarray(0, count), isLast);
      this.#onSent(count);
      if (this.#isDone) return;
    }
    if (!this.#hasEnded) return;
    this.#isDone = true;
    if (this.#trailers !== undefined) sink.sendTrailers(this.#trailers);
    else sink.sendData(NOTHING, true);
  }
}
