/**
 * What a proxy in the pod takes of the connections to mirrored ports, and what of it is left out of the copies:
 * `destination.ts` tells the one, `left-out.ts` the other.
 */

import type {Log} from '../../log.ts';
import type {CapturedPacket} from '../../native.ts';
import type {Ends} from '../tunnel-socket.ts';
import {Destinations} from './destination.ts';
import {LeftOut} from './left-out.ts';
import {ACK, type Segment, SYN} from './segment.ts';

/** A SYN may be seen before the kernel tracks its connection: it is looked at after so long, ms, of so many at a time. */
const LOOK_MS = 20;
const MOST_LOOKED_AT = 64;

export interface ProxiedOptions {
  /** Where agents of the pod take redirected connections. */
  readonly agentPorts: () => readonly number[];
  /** Whether anything that comes from outside to a port is known to be the application's. */
  readonly isReachedFromOutside: (port: number) => boolean;
  /** A connection from outside is the application's, which nobody had thought of its port: the beginning of it was left out. */
  readonly onFound: (ends: Ends) => void;
  /** Other ports are left out. */
  readonly onChange: () => void;
  readonly log: Log;
}

export class Proxied {
  readonly #options: ProxiedOptions;
  readonly #destinations: Destinations;
  readonly #leftOut = new LeftOut();
  #lookedAt = 0;

  constructor(options: ProxiedOptions) {
    this.#options = options;
    this.#destinations = new Destinations(options.agentPorts);
  }

  /** The ports that are left out; `isMirrored`: which are mirrored at all. */
  leftOut(isMirrored: (port: number) => boolean): number[] {
    this.#leftOut.keep(isMirrored);
    return [...this.#leftOut.ports];
  }

  /** Of a connection whose handshake is over. */
  isApplications(ends: Ends, isLoopback: boolean, nowMs: number): boolean {
    const {port} = ends.local;
    const destination = this.#destinations.of(ends, isLoopback, nowMs);
    // By a SYN nobody can tell what is led to a proxy without translation.
    if (destination === 'translated' && !this.#options.isReachedFromOutside(port)) {
      if (this.#leftOut.add(port)) {
        this.#options.log.debug('left out, since a proxy takes it', {port});
        this.#options.onChange();
      }
    }
    return destination === 'application';
  }

  /** Whether a packet is one of a port that is left out. */
  isLeftOut({isOutgoing, isLoopback}: CapturedPacket, {destinationPort}: Segment): boolean {
    return !isOutgoing && !isLoopback && this.#leftOut.ports.has(destinationPort);
  }

  /** Looks where such a one goes, some time later. */
  look(segment: Segment, bytes: Uint8Array): void {
    const isFirst = (segment.flags & (SYN | ACK)) === SYN;
    if (!isFirst || this.#lookedAt >= MOST_LOOKED_AT) return;
    this.#lookedAt++;
    const ends = segment.endsOf(bytes);
    setTimeout(() => {
      this.#lookedAt--;
      if (this.#destinations.isTranslated(ends) !== true) this.#takeIn(ends);
    }, LOOK_MS).unref();
  }

  #takeIn(ends: Ends): void {
    const {port} = ends.local;
    if (!this.#leftOut.ports.has(port)) return;
    this.#leftOut.takeIn(port);
    this.#options.log.debug('no more left out', {port});
    this.#options.onFound(ends);
    this.#options.onChange();
  }
}
