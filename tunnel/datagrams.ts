/**
 * The datagrams a stream has waiting: few, fresh, and never in the way of anything else.
 *
 * A full queue drops the newest (what a full socket buffer does); one that waited too long is
 * dropped when its turn comes. Both are counted, neither is an error.
 */

import {FRAME, newFrame} from './frames.ts';
import {
  DATAGRAM_FLOOR_BYTES,
  DATAGRAM_LATE_MS,
  DATAGRAM_QUEUE_BYTES,
  DATAGRAM_QUEUE_COUNT,
  HEADER_BYTES,
} from './limits.ts';
import type {FramePool} from './outbox.ts';
import {Ring} from './ring.ts';

/** Where dropped datagrams are counted. */
export interface DropCounters {
  datagramsDroppedFull: number;
  datagramsDroppedLate: number;
}

interface Waiting {
  readonly frame: Uint8Array;
  /** `Infinity` when the time was not known: such a datagram is never late. */
  readonly since: number;
}

/** The waiting datagrams of one stream. */
export class DatagramQueue {
  readonly #counters: DropCounters;
  readonly #pool: FramePool;
  readonly #waiting = new Ring<Waiting>();
  #bytes = 0;

  constructor(counters: DropCounters, pool: FramePool) {
    this.#counters = counters;
    this.#pool = pool;
  }

  get length(): number {
    return this.#waiting.length;
  }

  /** Copies a datagram of `head` and `payload` into a frame; false: it was dropped. */
  push(
    stream: number,
    parts: {readonly head: Uint8Array | undefined; readonly payload: Uint8Array},
    since: number,
  ): boolean {
    const headBytes = parts.head?.length ?? 0;
    const length = headBytes + parts.payload.length;
    const mostBytes = this.#pool.isClogged ? DATAGRAM_FLOOR_BYTES : DATAGRAM_QUEUE_BYTES;
    if (this.length >= DATAGRAM_QUEUE_COUNT || this.#bytes + length > mostBytes) {
      this.#counters.datagramsDroppedFull++;
      return false;
    }
    const frame = newFrame(FRAME.datagram, stream, length);
    if (parts.head !== undefined) frame.set(parts.head, HEADER_BYTES);
    frame.set(parts.payload, HEADER_BYTES + headBytes);
    this.#waiting.push({frame, since});
    this.#bytes += length;
    this.#pool.queue(length);
    return true;
  }

  /** Returns the length of the next frame that is not late; undefined: none is left. */
  nextBytes(now: number): number | undefined {
    for (;;) {
      const first = this.#waiting.peek();
      if (first === undefined) return undefined;
      if (now - first.since <= DATAGRAM_LATE_MS) return first.frame.length;
      this.shift();
      this.#counters.datagramsDroppedLate++;
    }
  }

  /** Takes the first frame out. */
  shift(): Uint8Array | undefined {
    const first = this.#waiting.shift();
    if (first === undefined) return undefined;
    this.#bytes -= first.frame.length - HEADER_BYTES;
    this.#pool.queue(HEADER_BYTES - first.frame.length);
    return first.frame;
  }

  clear(): void {
    this.#waiting.clear();
    this.#pool.queue(-this.#bytes);
    this.#bytes = 0;
  }
}
