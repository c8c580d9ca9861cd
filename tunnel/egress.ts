/**
 * The sending half of a multiplexer: what streams hand over, until a message is asked for.
 *
 * It also knows the time as streams see it. A stream acts whenever its owner does, at no given time:
 * `now` is then the last one that the driver told, and old if nothing was pending since.
 */

import {WindowBudget} from './credit.ts';
import {DEFAULT_LIMITS} from './limits.ts';
import type {Memory} from './memory.ts';
import type {MuxCounters} from './mux-types.ts';
import {FramePool} from './outbox.ts';
import {FrameSizer} from './rate.ts';
import {Ring} from './ring.ts';
import {Scheduler} from './scheduler.ts';
import type {Stream, StreamHost} from './stream.ts';
import type {StreamTable} from './stream-table.ts';

/** What all streams of one tunnel share. */
export class Egress implements StreamHost {
  readonly pool: FramePool;
  readonly budget: WindowBudget;
  readonly counters: MuxCounters;
  now = 0;
  minRttMs = 0;
  datagramBytes: number = DEFAULT_LIMITS.datagramBytes;
  /** Called when something is pending after nothing was. */
  onPending: (() => void) | undefined;
  /** Called when so much is pending that it should not wait for the end of the turn. */
  onHurry: (() => void) | undefined;

  readonly #table: StreamTable;
  readonly #scheduler: Scheduler;
  readonly #sizer = new FrameSizer();
  readonly #settling = new Ring<Stream>();
  readonly #refused = new Ring<Stream>();
  /** Streams that wait until memory is not short any more. */
  readonly #crowded = new Ring<Stream>();
  /** Frames of streams wait until the handshake is over. */
  #isOpen = false;
  #isPending = false;
  #isNowOld = true;

  constructor(
    table: StreamTable,
    options: {
      readonly windowBudgetBytes: number;
      readonly counters: MuxCounters;
      readonly memory: Memory | undefined;
    },
  ) {
    const {memory} = options;
    this.#table = table;
    this.pool = new FramePool(memory?.queued);
    this.pool.onRoom = () => this.#tellRoom();
    this.#scheduler = new Scheduler(this.pool);
    this.budget = new WindowBudget(options.windowBudgetBytes, memory?.windows);
    this.counters = options.counters;
  }

  get stamp(): number {
    return this.#isNowOld || !this.#isPending ? Number.POSITIVE_INFINITY : this.now;
  }

  get frameBytes(): number {
    return this.#sizer.frameBytes;
  }

  /** Whether a message may be had, or something is to be told. */
  get isPending(): boolean {
    return this.#isPending;
  }

  /** Whether more answers wait than an honest peer could cause. */
  get isFlooded(): boolean {
    return this.#scheduler.isFlooded;
  }

  tick(now: number): void {
    this.now = now;
    this.#isNowOld = false;
  }

  /** Lets frames of streams out. */
  open(): void {
    this.#isOpen = true;
    this.#wake();
  }

  /** Drops everything. */
  shut(): void {
    this.#isOpen = false;
    this.#isPending = false;
    this.#scheduler.clear();
    this.#crowded.clear();
    this.pool.shut();
  }

  /** Returns the next message; undefined: nothing is pending any more. */
  next(): Uint8Array | undefined {
    if (!this.#isOpen) return undefined;
    const message = this.#scheduler.next(this.now);
    if (message === undefined) this.#isPending = false;
    else this.#sizer.sent(message.length, this.now);
    return message;
  }

  pushControl(frame: Uint8Array): void {
    this.#scheduler.pushControl(frame);
    this.#wake();
  }

  pushCredit(stream: Stream): void {
    this.#scheduler.pushCredit(stream);
    this.#wake();
  }

  pushData(stream: Stream): void {
    this.#scheduler.push(stream, stream.isBulk);
    this.#wake();
  }

  hurry(): void {
    if (this.#isOpen) this.onHurry?.();
  }

  pushSettle(stream: Stream): void {
    this.#settling.push(stream);
    this.#wake();
  }

  /** Tells a stream when memory is not short any more. */
  pushCrowded(stream: Stream): void {
    this.counters.queueStalls++;
    this.#crowded.push(stream);
    this.pool.awaitRoom();
  }

  /** Refuses a stream that never went out, as soon as its opener has returned. */
  pushRefused(stream: Stream): void {
    this.#refused.push(stream);
    this.#wake();
  }

  forget(stream: Stream): void {
    // One that never went out has the id that the next one will get.
    if (this.#table.get(stream.id) === stream) this.#table.remove(stream.id);
  }

  /** Calls the handlers that were put off. What they bring up waits for the next round. */
  settle(): void {
    for (let left = this.#refused.length; left > 0; left--) {
      this.#refused.shift()?.onRefused('EAGAIN');
    }
    for (let left = this.#settling.length; left > 0; left--) this.#settling.shift()?.settle();
    if (this.#settling.length > 0 || this.#refused.length > 0) this.#wake();
  }

  #tellRoom(): void {
    for (let left = this.#crowded.length; left > 0; left--) this.#crowded.shift()?.onRoom();
  }

  #wake(): void {
    if (this.#isPending || !this.#isOpen) return;
    this.#isPending = true;
    this.#isNowOld = true;
    this.onPending?.();
  }
}
