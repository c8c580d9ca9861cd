/**
 * Whether the peer is alive, and how far away it is.
 *
 * Theory of operation. Any message is a sign of life. We ask for one (PING) every 4 s; after 20 s without any the
 * peer is dead. A PING is sent amid traffic, too, since its answer is the only measure of the round trip;
 * the smallest one ever counts (`credit.ts`). So a peer that is stopped for 15 s, whenever that begins, is not
 * taken for dead; and idle cuts of what is in between, after minutes, are far.
 * A process that was stopped itself (SIGSTOP, a closed lid, a debugger) wakes up to a silence that
 * says nothing about the peer: when `poll` comes late by seconds, the peer gets another interval.
 */

import {ASLEEP_AFTER_MS, AWAKE_GRACE_MS, DEAD_AFTER_MS, PING_AFTER_MS} from './limits.ts';

/** One tunnel's view of its peer. */
export class Liveness {
  readonly #random: () => number;
  #pingedAt = -Infinity;
  #deadAt: number;
  #nonce: Uint8Array | undefined;
  #minRttMs: number | undefined;

  constructor(random: () => number, now: number) {
    this.#random = random;
    this.#deadAt = now + DEAD_AFTER_MS;
  }

  /** The smallest round trip measured, in ms; undefined before the first. */
  get minRttMs(): number | undefined {
    return this.#minRttMs;
  }

  /** Notes a sign of life. */
  heard(now: number): void {
    this.#deadAt = now + DEAD_AFTER_MS;
  }

  /** Notes that there is another connection: what was asked over the last one measures nothing. */
  restart(now: number): void {
    this.#nonce = undefined;
    this.heard(now);
  }

  /** When `poll` wants to be called. */
  pollAt(): number {
    return Math.min(this.#nextPingAt(), this.#deadAt);
  }

  /** Decides: the peer is dead, a PING is to be sent (`nextNonce`), or nothing is to be done. */
  poll(now: number): 'dead' | 'ping' | undefined {
    const lateMs = now - this.pollAt();
    if (lateMs > ASLEEP_AFTER_MS && Number.isFinite(this.#pingedAt)) {
      this.#deadAt = Math.max(this.#deadAt, now + AWAKE_GRACE_MS);
      return 'ping';
    }
    if (now >= this.#deadAt) return 'dead';
    return now >= this.#nextPingAt() ? 'ping' : undefined;
  }

  /** Returns the 8 bytes of a new PING, which must be sent at `now`. */
  nextNonce(now: number): Uint8Array {
    this.#pingedAt = now;
    const nonce = new Uint8Array(8);
    // Unpredictable, so that a peer cannot answer before it was asked and look nearer than it is.
    for (let index = 0; index < 8; index++) nonce[index] = this.#random() * 256;
    this.#nonce = nonce;
    return nonce;
  }

  /** Takes an answer; one that answers nothing is ignored. */
  pong(nonce: Uint8Array, now: number): void {
    const expected = this.#nonce;
    if (expected === undefined || !expected.every((byte, index) => byte === nonce[index])) return;
    this.#nonce = undefined;
    const rttMs = now - this.#pingedAt;
    this.#minRttMs = Math.min(this.#minRttMs ?? rttMs, rttMs);
  }

  /** At once for the first, then again and again. */
  #nextPingAt(): number {
    if (this.#pingedAt === -Infinity) return -Infinity;
    return this.#pingedAt + PING_AFTER_MS;
  }
}
