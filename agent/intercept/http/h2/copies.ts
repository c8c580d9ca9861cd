/**
 * Copies of the streams of one connection of HTTP/2 for one client that mirrors them. The original never waits for
 * them: what waits for the program has a limit, and a copy that exceeds it is cut off, which the client is told once.
 */

import {waitingCopies} from '../../waiting-copies.ts';
import type {HttpCounters} from '../counters.ts';
import type {HttpSubscription} from '../types.ts';
import {warnOnce} from '../warnings.ts';
import {BodyQueue} from './body-queue.ts';
import type {Field} from './hpack/field.ts';
import type {AnswerEvents, ProgramConnection, ProgramStream} from './program-connection.ts';
import {CANCEL} from './protocol.ts';

/** What may wait for the program, of one stream. */
const WAITING_BYTES = 65_536;
/** Copies that the program has not answered. */
const MAX_COPIES = 250;

/** Takes a copy of a request. */
export interface RequestCopy {
  /** Bytes that stay as they are. */
  write(bytes: Buffer): void;
  end(trailers: readonly Field[] | undefined): void;
  cancel(): void;
}

/** Where a copy goes: a connection that is there, or on its way; undefined if there is none. */
export type CopyTarget = ProgramConnection | undefined | Promise<ProgramConnection | undefined>;

export class Copies {
  readonly #subscription: HttpSubscription;
  readonly #counters: HttpCounters;
  #count = 0;

  constructor(subscription: HttpSubscription, counters: HttpCounters) {
    this.#subscription = subscription;
    this.#counters = counters;
  }

  /** Begins a copy; undefined when there are too many. */
  begin(target: CopyTarget, fields: readonly Field[], isWhole: boolean): RequestCopy | undefined {
    this.#counters.mirroredRequests++;
    if (this.#count >= MAX_COPIES) {
      this.#tooSlow();
      return undefined;
    }
    this.#count++;
    const copy = new Copy({
      onSlow: () => this.#tooSlow(),
      onClose: () => {
        this.#count--;
      },
    });
    if (target instanceof Promise)
      void target.then((connection) => copy.start(connection, fields, isWhole));
    else copy.start(target, fields, isWhole);
    return copy;
  }

  #tooSlow(): void {
    this.#counters.cutMirrors++;
    const slow = 'the program takes copies of requests more slowly than they come: some are lost';
    warnOnce(this.#subscription, 'MIRRORD_HTTP_MIRROR_SLOW', slow);
  }
}

class Copy implements RequestCopy, AnswerEvents {
  readonly #events: {onSlow(): void; onClose(): void};
  readonly #queue = new BodyQueue(() => {});
  #waitingBytes = 0;
  #stream: ProgramStream | undefined;
  #hasAnswer = false;
  #isOver = false;

  constructor(events: {onSlow(): void; onClose(): void}) {
    this.#events = events;
  }

  /** Goes on with a connection; undefined: there is none. */
  start(
    connection: ProgramConnection | undefined,
    fields: readonly Field[],
    isWhole: boolean,
  ): void {
    if (connection === undefined) this.#finish();
    if (connection === undefined || this.#isOver) return;
    this.#stream = connection.ask(fields, {isWhole, events: this});
    this.#queue.start(this.#stream, isWhole);
    this.#count();
    connection.turn();
  }

  write(bytes: Buffer): void {
    if (this.#isOver) return;
    this.#queue.add(bytes, {isLent: false, isLast: false});
    this.#count();
    if (this.#queue.bytes <= WAITING_BYTES && !(this.#queue.bytes > 0 && waitingCopies.isFull))
      return;
    this.#events.onSlow();
    this.cancel();
  }

  end(trailers: readonly Field[] | undefined): void {
    if (this.#isOver) return;
    if (trailers !== undefined) this.#queue.end(trailers);
    else this.#queue.add(Buffer.alloc(0), {isLent: false, isLast: true});
    this.#finishIfDone();
  }

  cancel(): void {
    this.#stream?.reset(CANCEL);
    this.#finish();
  }

  // ---- the answer is of no interest, whatever it is ----

  onHead(_block: unknown, isLast: boolean): void {
    if (isLast) this.#answered();
  }

  onData(bytes: Buffer, isLast: boolean): void {
    this.#stream?.consumed(bytes.length);
    if (isLast) this.#answered();
  }

  onReset(): void {
    this.#finish();
  }

  onLost(): void {
    this.#finish();
  }

  onRoom(): void {
    this.#queue.flush();
    this.#count();
    this.#finishIfDone();
  }

  #count(): void {
    waitingCopies.change(this.#queue.bytes - this.#waitingBytes);
    this.#waitingBytes = this.#queue.bytes;
  }

  #answered(): void {
    this.#hasAnswer = true;
    this.#finishIfDone();
  }

  #finishIfDone(): void {
    if (this.#hasAnswer && this.#queue.isDone) this.#finish();
  }

  #finish(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#queue.stop();
    this.#count();
    this.#events.onClose();
  }
}
