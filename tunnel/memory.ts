/**
 * The memory that all tunnels of one process may use together for what they carry.
 *
 * Theory of operation. Each tunnel has bounds of its own (`limits.ts`), but an agent has many clients and one
 * container. What it may use is divided by purpose, and what a purpose has used up changes what is promised:
 *   1. *windows* (half): what peers may send. When all are used up none grows, larger ones fall back, and a
 *      new one is a fair part: 256 KiB for the first so many streams, 16 KiB for the last.
 *   2. *held* (as much as windows): what has come and is not taken yet by whom it is for. Windows of idle
 *      streams are only promises, so that there may be more of them than memory; this is what counts. The
 *      owner of the sockets keeps it, and ends what does not fit.
 *   3. *queued* (a quarter): what waits to be sent. When it is used up, streams take nothing more
 *      (`Stream.writable`), until a quarter of it is free.
 *   4. *kept* (a quarter): what was sent and is not acknowledged (`resume.ts`). When it is used up, nothing
 *      new is sent before an ACK.
 * Each tunnel has a little of 3 and 4 for sure: one client that does not read costs the others speed, and
 * stops none.
 */

import {INITIAL_WINDOW_BYTES, LEAST_WINDOW_BYTES} from './limits.ts';

/** A number of bytes that several may use. It counts; to keep below it is its users' business. */
export class Pool {
  readonly capBytes: number;
  #bytes = 0;
  #peakBytes = 0;
  #waiting = new Set<() => void>();

  constructor(capBytes: number) {
    this.capBytes = capBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** The most that was ever used at a time. */
  get peakBytes(): number {
    return this.#peakBytes;
  }

  get isFull(): boolean {
    return this.#bytes >= this.capBytes;
  }

  /** Notes that so much more is used, or less. */
  change(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes > this.#peakBytes) this.#peakBytes = this.#bytes;
    if (bytes < 0 && this.#waiting.size > 0 && this.#bytes <= 0.75 * this.capBytes) {
      const waiting = this.#waiting;
      this.#waiting = new Set();
      for (const call of waiting) call();
    }
  }

  /** Calls once, as soon as a quarter is free after more was used; once, too, if it was asked for twice. */
  whenFree(call: () => void): void {
    this.#waiting.add(call);
  }

  /** Does not call after all. */
  forget(call: () => void): void {
    this.#waiting.delete(call);
  }
}

/** The windows of all tunnels, and how many they are. */
export class WindowPool extends Pool {
  count = 0;

  /** What one more window should be. */
  get fairBytes(): number {
    const fair = Math.floor(this.capBytes / Math.max(1, this.count));
    return Math.min(INITIAL_WINDOW_BYTES, Math.max(LEAST_WINDOW_BYTES, fair));
  }
}

/** The memory of one process, by purpose. */
export class Memory {
  readonly capBytes: number;
  readonly windows: WindowPool;
  readonly held: Pool;
  readonly queued: Pool;
  readonly kept: Pool;

  constructor(capBytes: number) {
    this.capBytes = capBytes;
    this.windows = new WindowPool(capBytes / 2);
    this.held = new Pool(capBytes / 2);
    this.queued = new Pool(capBytes / 4);
    this.kept = new Pool(capBytes / 4);
  }
}
