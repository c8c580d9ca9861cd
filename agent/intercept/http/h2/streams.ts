/**
 * The streams of a client's connection that are not over, by the client's numbers and by the application's.
 *
 * The application has the client's numbers, and none of what programs answer (RFC 9113, section 5.1.1: they may be skipped).
 * But one of which a filter thought while others passed would be too small by then: it, and those behind it, have the next
 * ones.
 */

import type {Backlog} from './backlog.ts';
import type {RequestCopy} from './copies.ts';
import type {Exchange} from './exchange.ts';
import type {Parts} from './parts.ts';
import {CANCEL, MAX_31} from './protocol.ts';

/** How many of the latest are remembered; 0: there were not so many. */
const MOST_LATE = 32;

export class Stream {
  /** The client's number, and the application's; 0: the application does not have it. */
  readonly id: number;
  applicationId = 0;
  /** The client may send, and be sent to. */
  isUpOpen = true;
  isDownOpen = true;
  /** The application was sent all. */
  isSent = false;
  /** It is not the application's, or not yet; or it is, and some of it is still on its way. Neither: it is passed on as it is. */
  exchange: Exchange | undefined;
  backlog: Backlog | undefined;
  readonly copies: RequestCopy[] = [];

  constructor(id: number) {
    this.id = id;
  }
}

export class Streams {
  /** By the client's numbers, and by the application's. */
  readonly ofClient = new Map<number, Stream>();
  readonly ofApplication = new Map<number, Stream>();
  /** Those that do not simply pass. */
  readonly exchanged = new Set<Stream>();
  /** The latest that were, or were refused, and are over: the client may still say something of them. */
  readonly lateIds = new Uint32Array(MOST_LATE);
  /** The largest number that the client has used. */
  lastId = 0;
  /** The largest that is looked at: by the application, and, as the client was told, at all. */
  lastOfApplication = MAX_31;
  lastOfClient = MAX_31;
  /** The largest that the application has promised to push. */
  lastPushed = 0;
  /** The application has all streams so far, by the client's numbers. */
  isAligned = true;
  readonly #parts: Parts;
  readonly #onIdle: () => void;
  #lastApplicationId = -1;
  /** Those that have another number for the application. */
  readonly #renumbered = new Set<Stream>();
  /** The latest. */
  readonly #ended: Stream[] = [];
  #lateCount = 0;
  #endedCount = 0;

  /** `onIdle` hears when the last one is over. */
  constructor(parts: Parts, onIdle: () => void) {
    this.#parts = parts;
    this.#onIdle = onIdle;
  }

  /** A stream is one that the client has begun, or may have. */
  isIdle(id: number): boolean {
    if (id % 2 === 0) return id > this.lastPushed;
    return id > this.lastId && id <= this.lastOfClient;
  }

  /** The application has all that it has, and will have what comes next, by the client's numbers. */
  get haveOneNumber(): boolean {
    return this.#renumbered.size === 0 && this.#lastApplicationId <= this.lastId;
  }

  /** The largest number that the application has; -1: none. */
  get lastApplicationId(): number {
    return this.#lastApplicationId;
  }

  /** Streams of the application's that the client has ended: what it still says of them is his to leave aside. */
  get ended(): readonly Stream[] {
    return this.#ended;
  }

  /** The client has ended a stream of the application's. */
  noteEnded(stream: Stream): void {
    this.#ended[this.#endedCount++ % MOST_LATE] = stream;
  }

  /** The application does not have a stream that the client has begun. */
  noteLate(id: number): void {
    this.lateIds[this.#lateCount++ % MOST_LATE] = id;
  }

  /** Takes in a stream that the application pushes. Its number is the same for both. */
  push(id: number): void {
    const stream = new Stream(id);
    stream.applicationId = id;
    stream.isUpOpen = false;
    stream.isSent = true;
    this.lastPushed = Math.max(this.lastPushed, id);
    this.ofClient.set(id, stream);
    this.ofApplication.set(id, stream);
  }

  /** Gives a stream the application's next number; false when that takes no more. */
  give(stream: Stream): boolean {
    const id = Math.max(this.#lastApplicationId + 2, stream.id);
    if (id > this.lastOfApplication) return false;
    this.#lastApplicationId = id;
    stream.applicationId = id;
    if (id !== stream.id) {
      this.isAligned = false;
      this.#renumbered.add(stream);
    }
    this.ofClient.set(stream.id, stream);
    this.ofApplication.set(id, stream);
    return true;
  }

  /** Some stream is a program's alone. */
  get areProgramsAsked(): boolean {
    for (const {applicationId} of this.ofClient.values()) if (applicationId === 0) return true;
    return false;
  }

  /** The application has all of the request. */
  sent(stream: Stream | undefined): void {
    if (stream === undefined) return;
    stream.isSent = true;
    this.forgetIfOver(stream);
  }

  /** The client has all of the answer. */
  answered(stream: Stream | undefined): void {
    if (stream === undefined) return;
    stream.isDownOpen = false;
    this.forgetIfOver(stream);
  }

  forgetIfOver(stream: Stream): void {
    if (stream.isDownOpen) return;
    if (stream.isSent) this.ofApplication.delete(stream.applicationId);
    const isOver = !stream.isUpOpen && this.ofClient.delete(stream.id);
    if (!this.ofClient.has(stream.id) && !this.ofApplication.has(stream.applicationId))
      this.#forgotten(stream);
    if (isOver) this.#tellIfIdle();
  }

  /** It is passed on as it is, from now on. */
  settle(stream: Stream): void {
    stream.exchange = stream.backlog = undefined;
    this.exchanged.delete(stream);
  }

  #forgotten(stream: Stream): void {
    this.#renumbered.delete(stream);
    if (this.exchanged.delete(stream) && stream.applicationId === 0) this.noteLate(stream.id);
  }

  /** Ends a stream without a word; `code` is for a program that has it. */
  forget(stream: Stream, code: number): void {
    this.ofClient.delete(stream.id);
    this.ofApplication.delete(stream.applicationId);
    this.#parts.down.forget(stream.id);
    if (stream.applicationId > 0) this.#parts.up.forget(stream.applicationId);
    stream.exchange?.cancel(code);
    stream.backlog?.stop();
    if (stream.isUpOpen) for (const copy of stream.copies) copy.cancel();
    this.#forgotten(stream);
    this.#tellIfIdle();
  }

  forgetAll(): void {
    for (const stream of [...this.ofClient.values(), ...this.ofApplication.values()])
      this.forget(stream, CANCEL);
  }

  /** Ends a stream, which the client is told. */
  resetClient(stream: Stream, code: number): void {
    if (this.ofClient.has(stream.id)) this.#parts.client.output.reset(stream.id, code);
    this.forget(stream, code);
  }

  /** Ends a stream, which the application is told. */
  resetApplication(stream: Stream, code: number): void {
    if (this.ofApplication.has(stream.applicationId))
      this.#parts.toApplication?.reset(stream.applicationId, code);
    this.forget(stream, code);
  }

  resetBoth(stream: Stream, code: number): void {
    if (this.ofApplication.has(stream.applicationId))
      this.#parts.toApplication?.reset(stream.applicationId, code);
    this.resetClient(stream, code);
  }

  #tellIfIdle(): void {
    if (this.ofClient.size === 0) this.#onIdle();
  }
}
