/**
 * What a tunnel must remember to go on over another connection, without a byte lost or doubled.
 *
 * Theory of operation. The unit is the message. From the handshake on each side counts the messages it
 * has received, and keeps those it has sent until the other one says (ACK) how many have come. After a
 * loss both say how many they have (RESUME, RESUMED), and send again what the other one lacks, in order
 * and before anything new: so each message is handled exactly once, and nothing above this file can tell
 * that the connection was another one for a while. A message that is nothing but an ACK is neither
 * counted nor kept, as it would ask for an ACK itself.
 *
 * What is kept is bounded: above 32 MiB, or less where tunnels share memory, nothing new is sent until an
 * ACK comes. An ACK goes out after
 * 256 KiB or 50 ms, ahead of all else, also when this side may not send anything new: two sides that have
 * both reached their limit free each other.
 */

import {ProtocolError} from './errors.ts';
import {emitOffset, FRAME} from './frames.ts';
import {
  ACK_AFTER_BYTES,
  ACK_AFTER_MS,
  HEADER_BYTES,
  RETAINED_BYTES,
  RETAINED_FLOOR_BYTES,
  RETAINED_OVERHEAD_BYTES,
} from './limits.ts';
import type {Pool} from './memory.ts';
import type {MuxCounters} from './mux-types.ts';
import type {FramePool} from './outbox.ts';
import {Ring} from './ring.ts';

/** Where new messages come from. */
export interface Source {
  readonly counters: Pick<MuxCounters, 'messagesResent' | 'retentionStalls'>;
  next(): Uint8Array | undefined;
}

/** Tells whether a message is nothing but an ACK. */
export function isBareAck(message: Uint8Array): boolean {
  return message.length === HEADER_BYTES + 8 && message[0] === FRAME.ack;
}

function weightOf(message: Uint8Array): number {
  return message.length + RETAINED_OVERHEAD_BYTES;
}

/** The memory of one side. Times are the multiplexer's, in ms. */
export class Resume {
  readonly ticket: Uint8Array;
  /** Whether the driver says when memory is free: then what is acknowledged is used again. */
  mayRecycle = false;

  readonly #pool: FramePool;
  readonly #shared: Pool | undefined;
  /** Sent and not acknowledged; the last `#unsent` of them not over this connection yet. */
  readonly #kept = new Ring<Uint8Array>();
  #keptBytes = 0;
  #unsent = 0;
  /** Messages that the peer is known to have. */
  #acknowledged = 0;
  /** Messages that came, and what of them the peer hasn't been told of. */
  #received = 0;
  #owedBytes = 0;
  #owedSince: number | undefined;

  /** `shared`: what is kept in other tunnels counts, too. */
  constructor(ticket: Uint8Array, pool: FramePool, shared?: Pool) {
    this.ticket = ticket;
    this.#pool = pool;
    this.#shared = shared;
  }

  /** Messages received so far, which is what RESUME and RESUMED say. */
  get received(): number {
    return this.#received;
  }

  /** Messages that are kept. */
  get keptCount(): number {
    return this.#kept.length;
  }

  /** Whether so much is kept that nothing new may be sent. */
  get isFull(): boolean {
    if (this.#keptBytes < RETAINED_FLOOR_BYTES) return false;
    return this.#keptBytes >= RETAINED_BYTES || this.#shared?.isFull === true;
  }

  /** When `takeAck` or `takeUnsent` has something; undefined: not before something comes. */
  nextAt(now: number): number | undefined {
    if (this.#unsent > 0 || this.#owedBytes >= ACK_AFTER_BYTES) return now;
    return this.#owedSince === undefined ? undefined : this.#owedSince + ACK_AFTER_MS;
  }

  /**
   * Returns what goes out next: the ACK that is due, what has to be sent again, or else something new of
   * `source`, which is kept.
   */
  next(now: number, source: Source): Uint8Array | undefined {
    const ack = this.takeAck(now);
    if (ack !== undefined) return ack;
    const unsent = this.takeUnsent();
    if (unsent !== undefined) {
      source.counters.messagesResent++;
      return unsent;
    }
    if (this.isFull) {
      source.counters.retentionStalls++;
      return undefined;
    }
    const message = source.next();
    return message && this.keep(message);
  }

  /** Keeps a new message; returns what to send in its stead, which has the same bytes. */
  keep(message: Uint8Array): Uint8Array {
    let kept = message;
    if (message.buffer.byteLength > 2 * message.length) {
      // A few bytes in a large buffer: the buffer is needed for others.
      kept = message.slice();
      this.#pool.give(message);
    }
    this.#kept.push(kept);
    this.#count(weightOf(kept));
    return kept;
  }

  /** Returns the next message that is to be sent again. */
  takeUnsent(): Uint8Array | undefined {
    if (this.#unsent === 0) return undefined;
    const message = this.#kept.at(this.#kept.length - this.#unsent);
    this.#unsent--;
    return message;
  }

  /** Counts a message that has come. */
  noteReceived(bytes: number, now: number): void {
    this.#received++;
    this.#owedBytes += bytes;
    this.#owedSince ??= now;
  }

  /** Returns the ACK that is due. */
  takeAck(now: number): Uint8Array | undefined {
    if (this.#owedSince === undefined) return undefined;
    if (this.#owedBytes < ACK_AFTER_BYTES && now < this.#owedSince + ACK_AFTER_MS) return undefined;
    this.#noteTold();
    return emitOffset(FRAME.ack, 0, this.#received);
  }

  /** Forgets what the peer has. Throws ProtocolError RESUME_COUNT for what can't be. */
  acknowledge(count: number): void {
    this.check(count);
    for (; this.#acknowledged < count; this.#acknowledged++) {
      const message = this.#kept.shift();
      if (message === undefined) break;
      this.#count(-weightOf(message));
      if (this.mayRecycle) this.#pool.give(message);
    }
    this.#unsent = Math.min(this.#unsent, this.#kept.length);
  }

  /** Throws ProtocolError RESUME_COUNT for a count of messages that the peer can't have. */
  check(count: number): void {
    const isPossible =
      count >= this.#acknowledged && count <= this.#acknowledged + this.#kept.length;
    if (!isPossible) throw new ProtocolError('RESUME_COUNT');
  }

  /**
   * Goes on over a new connection, whose peer has `count` messages and is told `received` now. Throws as
   * `acknowledge`.
   */
  restart(count: number): void {
    this.acknowledge(count);
    this.#unsent = this.#kept.length;
    this.#noteTold();
  }

  /** Forgets everything. */
  clear(): void {
    this.#kept.clear();
    this.#count(-this.#keptBytes);
    this.#unsent = 0;
    this.#noteTold();
  }

  #count(bytes: number): void {
    this.#keptBytes += bytes;
    this.#shared?.change(bytes);
  }

  #noteTold(): void {
    this.#owedBytes = 0;
    this.#owedSince = undefined;
  }
}
