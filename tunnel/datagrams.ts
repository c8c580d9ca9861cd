/**
 * The datagrams a stream has waiting: few, fresh, and never in the way of anything else.
 *
 * Theory of operation. Frames are written one behind the other into slabs that all streams share, so that what a stream
 * gives in one turn lies together: such a *run* is taken as a whole, and is a message as it is if nothing else waits.
 * A slab is never written twice: it goes when nobody looks at it any more.
 *
 * A full queue drops the newest (what a full socket buffer does); one that waited too long is
 * dropped when its turn comes. Both are counted, neither is an error.
 */

import {emitHeader, FRAME} from './frames.ts';
import {
  DATAGRAM_FLOOR_BYTES,
  DATAGRAM_LATE_MS,
  DATAGRAM_QUEUE_BYTES,
  DATAGRAM_QUEUE_COUNT,
  DATAGRAM_RUN_BYTES,
  HEADER_BYTES,
} from './limits.ts';
import type {FramePool} from './outbox.ts';
import {Ring} from './ring.ts';

const SLAB_BYTES = 65_536;

/** Where dropped datagrams are counted. */
export interface DropCounters {
  datagramsDroppedFull: number;
  datagramsDroppedLate: number;
}

/** Memory that frames are written into, in order. */
class Slab {
  readonly bytes: Uint8Array;
  used = 0;

  constructor(size: number) {
    this.bytes = new Uint8Array(size);
  }
}

/** Frames that lie together: `slab.bytes[begin, end)`. */
interface Run {
  readonly slab: Slab;
  readonly begin: number;
  end: number;
  count: number;
  /** `Infinity` when the time was not known: such datagrams are never late. */
  readonly since: number;
}

let shared = new Slab(SLAB_BYTES);

/** The slab that has room for a frame: the one that all share, or for a large frame one of its own. */
function slabFor(frameBytes: number): Slab {
  if (frameBytes > DATAGRAM_RUN_BYTES) return new Slab(frameBytes);
  if (shared.used + frameBytes > SLAB_BYTES) shared = new Slab(SLAB_BYTES);
  return shared;
}

/** The waiting datagrams of one stream. */
export class DatagramQueue {
  readonly #counters: DropCounters;
  readonly #pool: FramePool;
  readonly #runs = new Ring<Run>();
  #count = 0;
  /** Of the payloads. */
  #bytes = 0;

  constructor(counters: DropCounters, pool: FramePool) {
    this.#counters = counters;
    this.#pool = pool;
  }

  get length(): number {
    return this.#count;
  }

  /** Copies a datagram of `head` and `payload` into a frame; false: it was dropped. */
  push(stream: number, payload: Uint8Array, head: Uint8Array | undefined, since: number): boolean {
    const headBytes = head?.length ?? 0;
    const length = headBytes + payload.length;
    const mostBytes = this.#pool.isClogged ? DATAGRAM_FLOOR_BYTES : DATAGRAM_QUEUE_BYTES;
    if (this.#count >= DATAGRAM_QUEUE_COUNT || this.#bytes + length > mostBytes) {
      this.#counters.datagramsDroppedFull++;
      return false;
    }
    const run = this.#runFor(HEADER_BYTES + length, since);
    const {bytes} = run.slab;
    emitHeader(bytes, run.end, {type: FRAME.datagram, stream, length});
    if (head !== undefined) bytes.set(head, run.end + HEADER_BYTES);
    bytes.set(payload, run.end + HEADER_BYTES + headBytes);
    run.end += HEADER_BYTES + length;
    run.slab.used = run.end;
    run.count++;
    this.#count++;
    this.#bytes += length;
    this.#pool.queue(length);
    return true;
  }

  /** Returns the length of the next run that is not late; undefined: none is left. */
  nextBytes(now: number): number | undefined {
    for (;;) {
      const first = this.#runs.peek();
      if (first === undefined) return undefined;
      if (now - first.since <= DATAGRAM_LATE_MS) return first.end - first.begin;
      this.#counters.datagramsDroppedLate += first.count;
      this.shift();
    }
  }

  /** Takes the first run out: one frame or several. */
  shift(): Uint8Array | undefined {
    const first = this.#runs.shift();
    if (first === undefined) return undefined;
    const {slab, begin, end, count} = first;
    const payloads = end - begin - count * HEADER_BYTES;
    this.#count -= count;
    this.#bytes -= payloads;
    this.#pool.queue(-payloads);
    return slab.bytes.subarray(begin, end);
  }

  clear(): void {
    this.#runs.clear();
    this.#pool.queue(-this.#bytes);
    this.#count = 0;
    this.#bytes = 0;
  }

  /** The last run, if a frame can be written right behind it; else a new one. */
  #runFor(frameBytes: number, since: number): Run {
    const last = this.#runs.last();
    if (
      last !== undefined &&
      last.since === since &&
      last.end === last.slab.used &&
      last.end + frameBytes <= last.slab.bytes.length &&
      last.end + frameBytes - last.begin <= DATAGRAM_RUN_BYTES
    ) {
      return last;
    }
    const slab = slabFor(frameBytes);
    const run = {slab, begin: slab.used, end: slab.used, count: 0, since};
    this.#runs.push(run);
    return run;
  }
}
