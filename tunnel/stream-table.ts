/**
 * The streams of a tunnel by id, and who may open how many.
 *
 * Odd ids are the layer's, even ones the agent's. Each side counts its own up and never uses one
 * again, so that an id below the highest that is not in the table belongs to a stream that is over:
 * frames for it were under way when it ended, and are ignored. Any other unknown id is a breach.
 */

import {ProtocolError} from './errors.ts';
import type {Limits} from './limits.ts';
import {TokenBucket} from './rate.ts';
import type {Stream} from './stream.ts';

const LAST_STREAM_ID = 0x7fff_ffff;

export class StreamTable {
  readonly #limits: Limits;
  readonly #streams = new Map<number, Stream>();
  readonly #peerOpens: TokenBucket;
  /** Unknown until the handshake is over: then our own limits stand in. */
  #peerLimits: Limits;
  #ownOpens: TokenBucket | undefined;
  #nextId: number;
  #peerId: number;
  #openedByPeer = 0;

  constructor(role: 'layer' | 'agent', limits: Limits) {
    this.#limits = limits;
    this.#peerLimits = limits;
    // What the network delayed arrives at once: the peer saves up twice what it promised.
    this.#peerOpens = new TokenBucket(2 * limits.streams, 2 * limits.opensPerSecond);
    this.#nextId = role === 'layer' ? 1 : 2;
    this.#peerId = role === 'layer' ? 0 : -1;
  }

  get size(): number {
    return this.#streams.size;
  }

  /** The id that a stream opened here would get. */
  get nextId(): number {
    return this.#nextId;
  }

  get(id: number): Stream | undefined {
    return this.#streams.get(id);
  }

  /** A copy: the streams may end while one looks at them. */
  all(): Stream[] {
    return [...this.#streams.values()];
  }

  setPeerLimits(limits: Limits): void {
    this.#peerLimits = limits;
    this.#ownOpens = new TokenBucket(limits.streams, limits.opensPerSecond);
  }

  /** Tells whether one more stream of ours keeps to the peer's limits, and counts it if so. */
  mayOpen(now: number): boolean {
    if (this.#nextId > LAST_STREAM_ID) return false;
    if (this.#streams.size - this.#openedByPeer >= this.#peerLimits.streams) return false;
    return this.#ownOpens?.take(now) ?? true;
  }

  /** Enters a stream with `nextId`. */
  addOwn(stream: Stream): void {
    this.#streams.set(stream.id, stream);
    this.#nextId += 2;
  }

  /**
   * Checks what the peer opens. Throws ProtocolError STREAM_ID, OPEN_RATE or TOO_MANY_STREAMS.
   */
  checkOffer(id: number, now: number): void {
    if (id <= this.#peerId || this.#isOwn(id) || id > LAST_STREAM_ID) {
      throw new ProtocolError('STREAM_ID');
    }
    this.#peerId = id;
    if (!this.#peerOpens.take(now)) throw new ProtocolError('OPEN_RATE');
    if (this.#openedByPeer >= this.#limits.streams) throw new ProtocolError('TOO_MANY_STREAMS');
  }

  /** Enters a stream that the peer opened. */
  addOffered(stream: Stream): void {
    this.#streams.set(stream.id, stream);
    this.#openedByPeer++;
  }

  remove(id: number): void {
    if (this.#streams.delete(id) && !this.#isOwn(id)) this.#openedByPeer--;
  }

  /** Throws ProtocolError STREAM_UNKNOWN when no stream ever had this id. */
  checkKnown(id: number): void {
    const isKnown = this.#isOwn(id) ? id < this.#nextId : id <= this.#peerId;
    if (!isKnown) throw new ProtocolError('STREAM_UNKNOWN');
  }

  #isOwn(id: number): boolean {
    return id % 2 === this.#nextId % 2;
  }
}
