/**
 * What goes out next.
 *
 * Theory of operation. Three classes:
 *   1. control: frames about streams and the tunnel, and the grants of credit;
 *   2. datagrams and calls, a frame per stream and turn;
 *   3. bulk: the bytes of connections, by deficit round robin (Shreedhar and Varghese 1995), so that
 *      streams share by bytes, whatever the size of their frames.
 * A class goes before the next one, except that bulk has a turn after 32 KiB of class 2: a flood of
 * datagrams may slow a download but not stop it. Nothing here waits for a stream: a stream that may
 * not send is not in a queue.
 *
 * Small frames are gathered into one message by a copy, in this order; a frame above 8 KiB is a
 * message by itself, without one.
 */

import {
  CONTROL_BACKLOG_BYTES,
  GATHER_BYTES,
  HEADER_BYTES,
  LARGE_FRAME_BYTES,
  MESSAGE_BYTES,
  PRIORITY_BURST_BYTES,
} from './limits.ts';
import type {FramePool} from './outbox.ts';
import {Ring} from './ring.ts';

/** A stream, as the scheduler sees it. */
export interface Sender {
  /** Bytes that it may send in this turn; the scheduler's own note. */
  deficitBytes: number;
  /** Returns the length of its next frame with header, or of several datagrams'; undefined: it has none. Drops what is late. */
  nextFrameBytes(now: number): number | undefined;
  /** Takes that out; it belongs to the caller. */
  takeFrame(): Uint8Array | undefined;
  /** Makes the frame of the credit that is due; undefined: none is. */
  takeCredit(now: number): Uint8Array | undefined;
}

export class Scheduler {
  readonly #pool: FramePool;
  readonly #control = new Ring<Uint8Array>();
  readonly #credit = new Ring<Sender>();
  readonly #priority = new Ring<Sender>();
  readonly #bulk = new Ring<Sender>();
  #controlBytes = 0;
  #priorityBytes = 0;

  constructor(pool: FramePool) {
    this.#pool = pool;
  }

  get isEmpty(): boolean {
    return (
      this.#control.length === 0 &&
      this.#credit.length === 0 &&
      this.#priority.length === 0 &&
      this.#bulk.length === 0
    );
  }

  /** Whether more control frames wait than an honest peer could cause. */
  get isFlooded(): boolean {
    return this.#controlBytes > CONTROL_BACKLOG_BYTES;
  }

  /** Queues a whole frame ahead of all data. */
  pushControl(frame: Uint8Array): void {
    this.#control.push(frame);
    this.#controlBytes += frame.length;
  }

  /** Queues a stream whose credit is due. The stream sees to it that it is queued only once. */
  pushCredit(sender: Sender): void {
    this.#credit.push(sender);
  }

  /** Queues a stream that has frames. The stream sees to it that it is queued only once. */
  push(sender: Sender, isBulk: boolean): void {
    sender.deficitBytes = 0;
    (isBulk ? this.#bulk : this.#priority).push(sender);
  }

  /** Drops everything. */
  clear(): void {
    this.#control.clear();
    this.#credit.clear();
    this.#priority.clear();
    this.#bulk.clear();
    this.#controlBytes = 0;
  }

  /** Returns the next message, at most MESSAGE_BYTES long; it belongs to the caller. */
  next(now: number): Uint8Array | undefined {
    const first = this.#take(now, MESSAGE_BYTES);
    if (first === undefined || first.length > GATHER_BYTES || this.isEmpty) return first;
    let length = first.length;
    let message: Uint8Array | undefined;
    for (;;) {
      const room = Math.min(GATHER_BYTES, HEADER_BYTES + LARGE_FRAME_BYTES - length);
      const frame = this.#take(now, room);
      if (frame === undefined) break;
      if (message === undefined) {
        message = this.#pool.take(LARGE_FRAME_BYTES);
        message.set(first);
        this.#pool.give(first);
      }
      message.set(frame, length);
      this.#pool.give(frame);
      length += frame.length;
    }
    return message === undefined ? first : message.subarray(0, length);
  }

  /** Takes the frame whose turn it is; undefined: there is none, or it exceeds `room`. */
  #take(now: number, room: number): Uint8Array | undefined {
    const control = this.#control.peek();
    if (control !== undefined) {
      if (control.length > room) return undefined;
      this.#controlBytes -= control.length;
      return this.#control.shift();
    }
    while (this.#credit.length > 0 && room >= HEADER_BYTES + 8) {
      const credit = this.#credit.shift()?.takeCredit(now);
      if (credit !== undefined) return credit;
    }
    if (this.#credit.length > 0) return undefined;
    if (this.#bulk.length === 0) this.#priorityBytes = 0;
    const isBulkDue = this.#priorityBytes >= PRIORITY_BURST_BYTES;
    const sender = isBulkDue ? undefined : this.#nextPriority(now);
    if (sender !== undefined) return this.#takePriority(sender, now, room);
    return this.#takeBulk(now, room);
  }

  #nextPriority(now: number): Sender | undefined {
    for (;;) {
      const sender = this.#priority.peek();
      if (sender === undefined || sender.nextFrameBytes(now) !== undefined) return sender;
      this.#priority.shift();
    }
  }

  #takePriority(sender: Sender, now: number, room: number): Uint8Array | undefined {
    if ((sender.nextFrameBytes(now) ?? 0) > room) return undefined;
    const frame = sender.takeFrame();
    this.#priorityBytes += frame?.length ?? 0;
    this.#priority.shift();
    if (sender.nextFrameBytes(now) !== undefined) this.#priority.push(sender);
    return frame;
  }

  #takeBulk(now: number, room: number): Uint8Array | undefined {
    for (;;) {
      const sender = this.#bulk.peek();
      if (sender === undefined) return undefined;
      const bytes = sender.nextFrameBytes(now);
      if (bytes === undefined) {
        this.#bulk.shift();
        continue;
      }
      // Its turn begins when it is at the head with too little; the quantum is the largest frame,
      // so that each turn sends at least one.
      if (sender.deficitBytes < bytes) sender.deficitBytes += MESSAGE_BYTES;
      if (bytes > room) return undefined;
      const frame = sender.takeFrame();
      sender.deficitBytes -= bytes;
      this.#priorityBytes = 0;
      const following = sender.nextFrameBytes(now);
      if (following === undefined || following > sender.deficitBytes) {
        this.#bulk.shift();
        if (following !== undefined) this.#bulk.push(sender);
      }
      return frame;
    }
  }
}
