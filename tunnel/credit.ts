/**
 * How much a stream's peer may send: windows, their growth, and the memory they may cost together.
 *
 * Theory of operation. A grant is an absolute offset (as QUIC's MAX_STREAM_DATA, RFC 9000, section
 * 4.1) and never taken back. It is raised to *consumed + window* as soon as half of the window is
 * consumed, so that the news travels while the peer still has the other half. A window that was
 * used up in less than two round trips was too small for the path: it is doubled, up to 8 MiB.
 * The round trip is the smallest one measured, since a smoothed one grows with our own queues and
 * would then forbid itself to grow (go-yamux #136). All windows together have a budget; while they
 * exceed it, none grows and larger ones fall back to their initial size with the next grant. The same
 * holds for the windows of all tunnels that share memory, where the initial size may be smaller (`memory.ts`).
 */

import {ProtocolError} from './errors.ts';
import {
  INITIAL_WINDOW_BYTES,
  MAX_WINDOW_BYTES,
  MIN_RTT_FLOOR_MS,
  WINDOW_BUDGET_BYTES,
} from './limits.ts';
import type {WindowPool} from './memory.ts';

/** The sum of the windows of one tunnel. */
export class WindowBudget {
  readonly #capBytes: number;
  readonly #shared: WindowPool | undefined;
  #bytes = 0;

  /** `shared`: what the windows of other tunnels count for, too. */
  constructor(capBytes: number = WINDOW_BUDGET_BYTES, shared?: WindowPool) {
    this.#capBytes = capBytes;
    this.#shared = shared;
  }

  /** The sum of all windows, in bytes: no stream's unread data can exceed its part of it. */
  get bytes(): number {
    return this.#bytes;
  }

  get isExceeded(): boolean {
    return this.#bytes > this.#capBytes || this.#shared?.isFull === true;
  }

  /** The size of a window that has not shown that it needs more. */
  get initialBytes(): number {
    return this.#shared?.fairBytes ?? INITIAL_WINDOW_BYTES;
  }

  /** Tells whether windows may grow by so much. */
  allows(moreBytes: number): boolean {
    if (this.#bytes + moreBytes > this.#capBytes) return false;
    return this.#shared === undefined || this.#shared.bytes + moreBytes <= this.#shared.capBytes;
  }

  change(bytes: number): void {
    this.#bytes += bytes;
    this.#shared?.change(bytes);
  }

  /** One more window, or one less, whose size `change` was told. */
  count(windows: 1 | -1): void {
    if (this.#shared !== undefined) this.#shared.count += windows;
  }
}

/** The receiving side of one stream's credit. */
export class ReceiveCredit {
  readonly #budget: WindowBudget;
  #windowBytes: number;
  #limit: number;
  #received = 0;
  #consumed = 0;
  #grantedAt: number;
  #released = false;

  /** `limit` is the grant that the peer has already, `windowBytes` what it shall become. */
  constructor(
    budget: WindowBudget,
    window: {readonly windowBytes: number; readonly limit: number; readonly now: number},
  ) {
    this.#budget = budget;
    this.#windowBytes = window.windowBytes;
    this.#limit = window.limit;
    this.#grantedAt = window.now;
    budget.change(window.windowBytes);
    budget.count(1);
  }

  /** Bytes received so far: the offset of the next one. */
  get received(): number {
    return this.#received;
  }

  /** The offset below which the peer may send. */
  get limit(): number {
    return this.#limit;
  }

  get windowBytes(): number {
    return this.#windowBytes;
  }

  /** Counts bytes of the peer. Throws ProtocolError FLOW_CONTROL when they were not granted. */
  receive(bytes: number): void {
    if (this.#received + bytes > this.#limit) throw new ProtocolError('FLOW_CONTROL');
    this.#received += bytes;
  }

  /** Notes that bytes below `offset` are gone. Throws RangeError when they were never received. */
  consume(offset: number): void {
    if (offset > this.#received) throw new RangeError('consumed more than was received');
    if (offset > this.#consumed) this.#consumed = offset;
  }

  /** Tells whether a grant is due. */
  get isDue(): boolean {
    return !this.#released && this.#limit - this.#consumed <= this.#windowBytes / 2;
  }

  /** Sets the window anew, as the acceptor of a stream may, and returns the limit it leads to. */
  resize(windowBytes: number): number {
    this.#setWindow(windowBytes);
    this.#limit = Math.max(this.#limit, this.#consumed + windowBytes);
    return this.#limit;
  }

  /** Decides about the window, and returns the new limit. */
  grant(now: number, minRttMs: number): number {
    const elapsedMs = now - this.#grantedAt;
    this.#grantedAt = now;
    if (this.#budget.isExceeded && this.#windowBytes > this.#budget.initialBytes) {
      this.#setWindow(this.#budget.initialBytes);
    } else if (
      elapsedMs < 2 * Math.max(minRttMs, MIN_RTT_FLOOR_MS) &&
      this.#windowBytes * 2 <= MAX_WINDOW_BYTES &&
      this.#budget.allows(this.#windowBytes)
    ) {
      this.#setWindow(this.#windowBytes * 2);
    }
    this.#limit = Math.max(this.#limit, this.#consumed + this.#windowBytes);
    return this.#limit;
  }

  /** Gives the window back to the budget: nothing more is granted. */
  release(): void {
    if (this.#released) return;
    this.#released = true;
    this.#budget.change(-this.#windowBytes);
    this.#budget.count(-1);
  }

  #setWindow(windowBytes: number): void {
    if (!this.#released) this.#budget.change(windowBytes - this.#windowBytes);
    this.#windowBytes = windowBytes;
  }
}
