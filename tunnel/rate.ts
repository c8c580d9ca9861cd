/** Two small meters: a token bucket for what a peer may do, and the throughput of the connection. */

import {FAST_LINK_BYTES_PER_MS, LARGE_FRAME_BYTES, SMALL_FRAME_BYTES} from './limits.ts';

/** Allows `burst` events at once and `perSecond` in the long run. */
export class TokenBucket {
  readonly #burst: number;
  readonly #perMs: number;
  #tokens: number;
  #at: number | undefined;

  constructor(burst: number, perSecond: number) {
    this.#burst = burst;
    this.#perMs = perSecond / 1000;
    this.#tokens = burst;
  }

  /** Takes a token; false: there is none. */
  take(now: number): boolean {
    const elapsedMs = Math.max(0, now - (this.#at ?? now));
    this.#at = now;
    this.#tokens = Math.min(this.#burst, this.#tokens + elapsedMs * this.#perMs);
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }
}

/** The shortest time over which a rate means something, given the jitter of an event loop. */
const SAMPLE_MS = 20;

/**
 * Chooses the size of bulk frames. The rate is what went out between two looks at least 20 ms
 * apart; it can only be high when the connection is fast, and when it is low because there was
 * little to send, small frames cost nothing.
 */
export class FrameSizer {
  #bytes = 0;
  #since: number | undefined;
  #frameBytes = SMALL_FRAME_BYTES;

  /** Payload bytes of a bulk frame that is started now. */
  get frameBytes(): number {
    return this.#frameBytes;
  }

  sent(bytes: number, now: number): void {
    this.#since ??= now;
    this.#bytes += bytes;
    const elapsedMs = now - this.#since;
    if (elapsedMs < SAMPLE_MS) return;
    const isFast = this.#bytes / elapsedMs >= FAST_LINK_BYTES_PER_MS;
    this.#frameBytes = isFast ? LARGE_FRAME_BYTES : SMALL_FRAME_BYTES;
    this.#bytes = 0;
    this.#since = now;
  }
}
