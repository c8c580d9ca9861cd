/**
 * Mirrors connections to ports of the pod without being in their way: by copies of the packets that come in.
 *
 * Theory of operation. Nothing is redirected, and no connection of anybody's ends at the agent. The kernel copies the segments
 * for mirrored ports (`filter.ts`) into a ring of memory (`PacketCapture`); they are put in order as their receiver
 * does (`tracker.ts`, `assembler.ts`), and what a client sends goes to the programs that mirror, by the same
 * copies as of a redirected connection (`mirror.ts`); of who has a filter, the requests that fit
 * (`../http/watch/`). Whatever happens to the agent, the application has its clients,
 * and the worst for a copy is that it is cut off: the agent was too slow for the ring, or the program for the agent.
 *
 * A connection from outside is seen where it comes in, before any rule of NAT. So a mirror does not care whether another client
 * steals the port: the bytes are the same. What is on `lo` is seen behind the rules: calls there to a stolen port are not seen,
 * which is why the subscription is made with the interceptor as well (`Standing.isCaptured`); but what the proxy of a mesh says to the
 * application is. What is said to that proxy is told apart, and left out (`proxied.ts`).
 *
 * Only where it is possible: without NET_RAW, or where nobody can tell what a proxy takes, ports are redirected as for a steal.
 */

import type {InterceptEvent, InterceptParams} from '../../../tunnel/intercept.ts';
import {errnoOf} from '../../errno.ts';
import type {Log} from '../../log.ts';
import {type CapturedPacket, connections, isOwnAddress, PacketCapture} from '../../native.ts';
import {mirrorFor} from '../mirror.ts';
import {standingConnections, unmapped} from '../standing.ts';
import {type InterceptClient, warn} from '../subscriptions.ts';
import type {Ends} from '../tunnel-socket.ts';
import {canTell} from './destination.ts';
import {captureFilter, MOST_EXCLUDED, MOST_PORTS} from './filter.ts';
import {Proxied} from './proxied.ts';
import {type CapturedSubscriber, watchRequests} from './requests.ts';
import {Segment} from './segment.ts';
import {type Copy, MOST_OPEN, Tracker} from './tracker.ts';

/** Between two looks at what is to be forgotten, ms. */
const SWEEP_MS = 2_000;
/** A connection that says nothing for so long is looked for among the kernel's, ms. */
const IDLE_MS = 60_000;

const NOBODY: readonly CapturedSubscriber[] = [];

/** One connection for all that mirror it. */
class Copies implements Copy {
  readonly #mirrors: readonly Omit<Copy, 'cutOff'>[];
  readonly #onCutOff: () => void;

  constructor(mirrors: readonly Omit<Copy, 'cutOff'>[], onCutOff: () => void) {
    this.#mirrors = mirrors;
    this.#onCutOff = onCutOff;
  }

  get isAlive(): boolean {
    return this.#mirrors.some(({isAlive}) => isAlive);
  }

  write(bytes: Uint8Array): void {
    for (const mirror of this.#mirrors) mirror.write(bytes);
  }

  end(): void {
    for (const mirror of this.#mirrors) mirror.end();
  }

  reset(): void {
    for (const mirror of this.#mirrors) mirror.reset();
  }

  cutOff(): void {
    this.reset();
    this.#onCutOff();
  }
}

/** What came of packets and connections. */
export interface CaptureCounts {
  readonly packets: number;
  /** Those that found no room, had a wrong checksum, or were not whole. */
  readonly dropped: number;
  readonly broken: number;
  readonly truncated: number;
  /** Connections that were copied, and are. */
  readonly connections: number;
  readonly open: number;
  /** Those of which something was missing. */
  readonly cutOff: number;
}

export class Capture {
  readonly counters = {
    mirrored: 0,
    mirrorsCutOff: 0,
    dropped: 0,
    broken: 0,
    truncated: 0,
    excluded: 0,
  };
  readonly #log: Log;
  /** Who mirrors a port; another list whenever that changes. */
  readonly #ports = new Map<number, readonly CapturedSubscriber[]>();
  /** Those with a filter, of a list. */
  readonly #filtered = new WeakMap<readonly CapturedSubscriber[], readonly CapturedSubscriber[]>();
  /** Below those of the interceptor, which are above 0. */
  #nextNumber = -1;
  readonly #tracker: Tracker;
  readonly #segment = new Segment();
  readonly #proxied: Proxied;
  /** Connections that are left out, oldest first. */
  readonly #excluded: Ends[] = [];
  #packets: PacketCapture | undefined;
  #captured = '';
  #nowMs = 0;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  /** `agentPorts`: where agents of the pod take redirected connections. */
  constructor(log: Log, agentPorts: () => readonly number[]) {
    this.#log = log;
    const tracker = new Tracker({
      isApplications: (ends, isLoopback) =>
        this.#proxied.isApplications(ends, isLoopback, this.#nowMs),
      open: (ends) => this.#open(ends),
      onUnwanted: (ends) => this.#exclude(ends),
      onBoundary: (ends) => this.#include(ends),
      hasLost: () => this.#hasLost(),
      onOverLimit: (port) => this.#onOverLimit(port),
    });
    this.#tracker = tracker;
    this.#proxied = new Proxied({
      ...{agentPorts, log},
      isReachedFromOutside: (port) => tracker.isReachedFromOutside(port),
      onFound: (ends) => tracker.standing(ends, false, performance.now()),
      onChange: () => this.#tryUpdate(),
    });
  }

  /**
   * Mirrors a port by copies of packets, from before it returns: the end of it, or undefined where that can't be.
   * `onEvent` hears of warnings.
   */
  subscribe(
    params: InterceptParams,
    client: InterceptClient,
    onEvent: (event: InterceptEvent) => void,
  ): (() => void) | undefined {
    const {port} = params;
    if (!canTell()) {
      this.#log.info('not captured: the kernel does not tell where connections go', {port});
      return undefined;
    }
    const number = this.#nextNumber--;
    const subscriber: CapturedSubscriber = {params, client, onEvent, number, warned: new Set()};
    this.#ports.set(port, [...this.#of(port), subscriber]);
    const end = (): void => {
      const rest = this.#of(port).filter((other) => other !== subscriber);
      if (rest.length > 0) this.#ports.set(port, rest);
      else this.#ports.delete(port);
    };
    try {
      this.#update();
    } catch (error) {
      end();
      this.#log.info('not captured', {port, reason: errnoOf(error)});
      return undefined;
    }
    this.#noteStanding(port);
    this.#log.info('subscribed', {port, mode: params.mode, by: 'capture'});
    return () => {
      end();
      this.#log.info('unsubscribed', {port});
      this.#tryUpdate();
    };
  }

  /** What came so far. */
  get counts(): CaptureCounts {
    const {dropped, broken, truncated} = this.counters;
    const {segments: packets, connections, cutOff} = this.#tracker.counters;
    const {openCount: open} = this.#tracker;
    return {packets, dropped, broken, truncated, connections, open, cutOff};
  }

  /** Breaks every copy off. */
  close(): void {
    this.#isClosed = true;
    this.#ports.clear();
    this.#tracker.close();
    this.#tryUpdate();
  }

  // ---- what is captured ----

  /** Has captured what is wanted now: for who subscribes, and what goes on. Throws when it can't be. */
  #update(): void {
    const ports = [...new Set([...this.#ports.keys(), ...this.#tracker.ports])].sort();
    if (ports.length === 0 || this.#isClosed) {
      this.#packets?.close();
      this.#packets = undefined;
      this.#excluded.length = 0;
      this.#proxied.leftOut(() => false);
      clearInterval(this.#timer);
      return;
    }
    if (ports.length > MOST_PORTS) {
      throw Object.assign(new Error('too many ports'), {code: 'EMFILE'});
    }
    const leftOut = this.#proxied.leftOut((port) => this.#ports.has(port));
    const exceptions = {excluded: this.#excluded, leftOut};
    const captured = JSON.stringify([ports, this.#excluded.map(keyOf), leftOut]);
    if (this.#packets === undefined) {
      this.#packets = new PacketCapture(captureFilter(ports, exceptions), {
        onBatch: () => {
          this.#nowMs = performance.now();
        },
        onPacket: (packet) => this.#onPacket(packet),
      });
      this.#timer = setInterval(() => this.#sweep(), SWEEP_MS);
      this.#timer.unref();
    } else if (captured !== this.#captured) {
      this.#packets.filter(captureFilter(ports, exceptions));
    }
    this.#captured = captured;
  }

  #tryUpdate(): boolean {
    try {
      this.#update();
      return true;
    } catch (error) {
      // More is captured than is wanted.
      this.#log.warn('capture not changed', {reason: errnoOf(error)});
      return false;
    }
  }

  #exclude(ends: Ends): void {
    this.counters.excluded++;
    this.#log.debug('left out of the capture', {port: ends.local.port, peerPort: ends.peer.port});
    if (this.#excluded.push(ends) > MOST_EXCLUDED) this.#excluded.shift();
    if (!this.#tryUpdate()) this.#excluded.pop();
  }

  #include(ends: Ends): void {
    if (this.#excluded.length === 0) return;
    const at = this.#excluded.findIndex((one) => keyOf(one) === keyOf(ends));
    if (at < 0) return;
    this.#excluded.splice(at, 1);
    this.#log.debug('no more left out', {port: ends.local.port, peerPort: ends.peer.port});
    this.#tryUpdate();
  }

  #onPacket(packet: CapturedPacket): void {
    const {offset, length, isWhole} = packet;
    const ring = this.#packets?.ring;
    if (ring === undefined) return;
    if (!isWhole || !this.#segment.read(ring, offset, length)) this.counters.truncated++;
    else if (this.#proxied.isLeftOut(packet, this.#segment))
      this.#proxied.look(this.#segment, ring);
    else this.#tracker.take(this.#segment, ring, packet, this.#nowMs);
  }

  // ---- what was there before ----

  #noteStanding(port: number): void {
    const endOf = ({address, port: number}: Ends['peer']): Ends['peer'] => ({
      address: Buffer.from(unmapped(address), 'hex'),
      port: number,
    });
    try {
      for (const {peer, local} of standingConnections(port)) {
        const ends = {peer: endOf(peer), local: endOf(local)};
        this.#tracker.standing(ends, isOwnAddress(ends.peer.address), performance.now());
      }
    } catch (error) {
      this.#log.debug('standing connections', {port, reason: errnoOf(error)});
    }
  }

  // ---- copies ----

  #open(ends: Ends): Copy | undefined {
    const {port} = ends.local;
    const subscribers = this.#of(port).filter(({client}) => !client.isAway);
    const mirrors = subscribers.flatMap((subscriber) =>
      subscriber.params.filter === undefined
        ? (mirrorFor(subscriber, ends, this.counters) ?? [])
        : [],
    );
    this.counters.mirrored += mirrors.length;
    const filtered = (): readonly CapturedSubscriber[] => this.#filteredOf(port);
    const requests = filtered().length === 0 ? [] : [watchRequests(ends, filtered)];
    if (mirrors.length + requests.length === 0) return undefined;
    return new Copies([...mirrors, ...requests], () => {
      for (const subscriber of subscribers) {
        warn(
          subscriber,
          'MIRROR_TOO_SLOW',
          `a mirrored connection to port ${ends.local.port} was cut off: the agent copies more slowly than the target receives`,
        );
      }
    });
  }

  #of(port: number): readonly CapturedSubscriber[] {
    return this.#ports.get(port) ?? NOBODY;
  }

  #filteredOf(port: number): readonly CapturedSubscriber[] {
    const all = this.#of(port);
    let filtered = this.#filtered.get(all);
    if (filtered === undefined) {
      filtered = all.filter(({params}) => params.filter !== undefined);
      this.#filtered.set(all, filtered);
    }
    return filtered;
  }

  #onOverLimit(port: number): void {
    for (const subscriber of this.#of(port)) {
      warn(
        subscriber,
        'TOO_MANY_CONNECTIONS',
        `more than ${MOST_OPEN} connections are mirrored: new ones reach the target only, until there are fewer`,
      );
    }
  }

  // ---- what is lost and what is over ----

  #hasLost(): boolean {
    if (this.#packets === undefined) return false;
    const {dropped, broken} = this.#packets.losses();
    this.counters.broken = broken;
    this.counters.dropped += dropped;
    if (dropped === 0) return false;
    this.#log.debug('copies of packets lost', {dropped});
    for (const subscriber of [...this.#ports.values()].flat()) {
      warn(
        subscriber,
        'MIRROR_INCOMPLETE',
        `more comes to the target than the agent copies: connections to port ${subscriber.params.port} may be missing here, or the end of them`,
      );
    }
    return true;
  }

  #sweep(): void {
    const nowMs = performance.now();
    if (this.#hasLost()) this.#tracker.lost(nowMs);
    this.#tracker.sweep(nowMs);
    this.#endGone(nowMs);
    this.#tryUpdate();
  }

  /** A connection may end without a word of either side: then the kernel has no socket of it any more. */
  #endGone(nowMs: number): void {
    const idle = this.#tracker.idle(nowMs, IDLE_MS);
    if (idle.length === 0) return;
    try {
      const there = new Set(
        ([4, 6] as const)
          .flatMap((family) => connections(family, {}, 'open'))
          .map(({peer}) => `${unmapped(peer.address)} ${peer.port}`),
      );
      for (const flow of idle) {
        const {address, port} = flow.ends.peer;
        if (there.has(`${unmapped(address)} ${port}`)) flow.seenAt = nowMs;
        else this.#tracker.gone(flow);
      }
    } catch (error) {
      // No sock_diag, or too many sockets: they stay until something is heard of them.
      this.#log.debug('idle connections', {reason: errnoOf(error)});
    }
  }
}

function keyOf({peer, local}: Ends): string {
  return `${peer.address} ${peer.port} ${local.port}`;
}
