/**
 * The life of a tunnel: what state it is in, since when, and what the clock has to say about that.
 *
 * Theory of operation.
 *
 *     greeting ──► ready ──► closed
 *                  ▲   │
 *                  │   ▼
 *            resuming ◄──► suspended
 *
 * *Greeting*: the handshake is not over, and may not take for ever. *Ready*: the peer is asked for signs of
 * life (`liveness`), and one that gives none is dead. If the tunnel may be resumed, that only means that its
 * connection is lost: *suspended*, until there is another one and RESUME went out over it: *resuming*, until
 * that is answered. Both together last no longer than the resume window, which begins anew with each loss;
 * an answer that does not come in time leads back to *suspended*. Each state may lead to *closed*, and
 * nothing leads out of it.
 *
 * A state changes only by a call; `poll` says what is to be done, and does nothing.
 */

import {HANDSHAKE_TIMEOUT_MS, RESUME_ANSWER_MS, SUSPENDED_POLL_MS} from './limits.ts';
import {Liveness} from './liveness.ts';

/** What the clock demands: a code to close with, to give the connection up (`suspend`), or a PING. */
export type LifeDemand = 'HANDSHAKE_TIMEOUT' | 'RESUME_TIMEOUT' | 'PEER_DEAD' | 'suspend' | 'ping';

/** How patient a tunnel is. */
export interface LifeOptions {
  readonly random: () => number;
  readonly handshakeTimeoutMs?: number | undefined;
  /** How long a session is kept without a connection, in ms; 0: not at all. */
  readonly resumeWindowMs: number;
}

/** Where in its life a tunnel is. All times are the multiplexer's, in ms. */
export class Life {
  readonly #random: () => number;
  readonly #handshakeTimeoutMs: number;
  readonly #resumeWindowMs: number;
  #state: 'greeting' | 'ready' | 'suspended' | 'resuming' | 'closed' = 'greeting';
  #mayResume = false;
  #startedAt: number | undefined;
  #lostAt = 0;
  #resumingAt = 0;
  /** There is one from the handshake on. */
  #liveness: Liveness | undefined;

  constructor({random, handshakeTimeoutMs, resumeWindowMs}: LifeOptions) {
    this.#random = random;
    this.#handshakeTimeoutMs = handshakeTimeoutMs ?? HANDSHAKE_TIMEOUT_MS;
    this.#resumeWindowMs = resumeWindowMs;
  }

  get isGreeting(): boolean {
    return this.#state === 'greeting';
  }

  get isReady(): boolean {
    return this.#state === 'ready';
  }

  get isSuspended(): boolean {
    return this.#state === 'suspended';
  }

  get isResuming(): boolean {
    return this.#state === 'resuming';
  }

  get isClosed(): boolean {
    return this.#state === 'closed';
  }

  /** Whether there is no connection that anything could be said over. */
  get isAlone(): boolean {
    return this.#state === 'suspended' || this.#state === 'resuming';
  }

  /** The smallest round trip measured so far, in ms. */
  get minRttMs(): number | undefined {
    return this.#liveness?.minRttMs;
  }

  /** The patience with the handshake begins with the first call. */
  tick(now: number): void {
    this.#startedAt ??= now;
  }

  /** The handshake is over. */
  becomeReady(now: number, mayResume: boolean): void {
    this.#state = 'ready';
    this.#mayResume = mayResume;
    this.#liveness = new Liveness(this.#random, now);
  }

  /** The connection in use is lost: the resume window begins. */
  noteLoss(now: number): void {
    this.#lostAt = now;
  }

  /** There is no connection to speak of from now on. */
  suspend(): void {
    this.#state = 'suspended';
  }

  /** RESUME is about to go out over a new connection. */
  startResuming(now: number): void {
    this.#state = 'resuming';
    this.#resumingAt = now;
  }

  /** The new connection is the tunnel's. */
  resume(now: number): void {
    this.#state = 'ready';
    this.#liveness?.restart(now);
  }

  close(): void {
    this.#state = 'closed';
  }

  /** Notes a sign of life. */
  heard(now: number): void {
    this.#liveness?.heard(now);
  }

  /** Returns the 8 bytes of a new PING, which must be sent at `now`; none before the handshake. */
  nextNonce(now: number): Uint8Array | undefined {
    return this.#liveness?.nextNonce(now);
  }

  /** Takes the 8 bytes of a PONG. */
  pong(nonce: Uint8Array, now: number): void {
    this.#liveness?.pong(nonce, now);
  }

  /** Looks at the clock. */
  poll(now: number): LifeDemand | undefined {
    switch (this.#state) {
      case 'greeting': {
        const elapsedMs = now - (this.#startedAt ?? now);
        return elapsedMs >= this.#handshakeTimeoutMs ? 'HANDSHAKE_TIMEOUT' : undefined;
      }
      case 'ready': {
        const action = this.#liveness?.poll(now);
        if (action === 'dead') return this.#mayResume ? 'suspend' : 'PEER_DEAD';
        return action;
      }
      case 'suspended':
      case 'resuming': {
        if (now - this.#lostAt >= this.#resumeWindowMs) return 'RESUME_TIMEOUT';
        const isUnanswered =
          this.#state === 'resuming' && now - this.#resumingAt >= RESUME_ANSWER_MS;
        return isUnanswered ? 'suspend' : undefined;
      }
      case 'closed':
        return undefined;
      default:
        return this.#state satisfies never;
    }
  }

  /** When `poll` wants to be called; undefined: never. */
  pollAt(now: number): number | undefined {
    switch (this.#state) {
      case 'greeting':
        return this.#startedAt === undefined ? now : this.#startedAt + this.#handshakeTimeoutMs;
      case 'ready':
        return this.#liveness?.pollAt();
      case 'suspended':
      case 'resuming':
        return Math.min(this.#lostAt + this.#resumeWindowMs, now + SUSPENDED_POLL_MS);
      case 'closed':
        return undefined;
      default:
        return this.#state satisfies never;
    }
  }
}
