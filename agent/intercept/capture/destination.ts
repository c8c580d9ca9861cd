/**
 * Where connections to a mirrored port end: at a socket of the application, or at a proxy that takes them before it, as that of a
 * service mesh does. What it takes may be ciphertext, and what it passes on comes once more, in plain text and on `lo`.
 *
 * Theory of operation. A packet socket sees what comes by a network card before any rule of NAT, and what is on `lo` behind them:
 * so that on `lo` the port that is seen is the one where it ends. Of what comes from outside, the kernel is asked for each connection:
 *
 *     not tracked, or not translated      it ends where it wanted to go: at the application
 *     translated to a port of an agent's  somebody steals the port; the bytes are the same
 *     translated elsewhere                a proxy has it
 *     to an address of somebody else's    it is on its way through: what has the node's network sees what goes to its pods
 *
 * Rules that lead connections to a proxy without translation (TPROXY) need a socket that takes other addresses for its own
 * (IP_TRANSPARENT). Where anybody listens by such a one, the connection's own socket tells whose it is; and where that
 * is gone already, what the last one of the port told. While none has, a short one may be taken for the application's.
 *
 * No rule is read: they may be anybody's, by any tool, and may come and go. Each connection went where it went.
 */

import {existsSync} from 'node:fs';
import {errnoOf} from '../../errno.ts';
import {connections, isOwnAddress, socketOfConnection, trackedDestination} from '../../native.ts';
import type {Ends} from '../tunnel-socket.ts';

/** `elsewhere`: without translation. */
export type Destination = 'application' | 'translated' | 'elsewhere';

/** Between two looks at who listens by a transparent socket, ms. */
const LOOK_MS = 2_000;
/** It is there if the kernel can track connections at all. */
const TRACKING = '/proc/sys/net/netfilter/nf_conntrack_max';
const NOBODY = {address: new Uint8Array(4), port: 0};

/**
 * Whether it can be told. Not where the kernel tracks connections and does not say so (it has no ctnetlink). Without
 * NET_ADMIN nothing is known either, but nothing else can be done.
 */
export function canTell(): boolean {
  try {
    trackedDestination(NOBODY, NOBODY);
    return true;
  } catch (error) {
    return errnoOf(error) === 'EPERM' || !existsSync(TRACKING);
  }
}

export class Destinations {
  readonly #agentPorts: () => readonly number[];
  /** By port, whether a proxy had the last connection from outside of which that was known. */
  readonly #wasProxys = new Map<number, boolean>();
  #hasTransparent = false;
  #lookedAt = Number.NEGATIVE_INFINITY;

  /** `agentPorts`: where agents of the pod take redirected connections. */
  constructor(agentPorts: () => readonly number[]) {
    this.#agentPorts = agentPorts;
  }

  /** Of a connection whose handshake is over. `isLoopback`: it was seen on `lo`. */
  of(ends: Ends, isLoopback: boolean, nowMs: number): Destination {
    if (nowMs - this.#lookedAt > LOOK_MS) this.#look(nowMs);
    if (!isLoopback && this.isTranslated(ends) === true) return 'translated';
    if (!isLoopback && this.#isOnItsWay(ends)) return 'elsewhere';
    return this.#isProxys(ends, isLoopback) ? 'elsewhere' : 'application';
  }

  /** Whether it is led to somebody who is no agent; undefined: it is not tracked, or not yet. */
  isTranslated({peer, local}: Ends): boolean | undefined {
    try {
      const found = trackedDestination(peer, local);
      if (found === undefined) return undefined;
      const {address, port} = found;
      const isSame = port === local.port && address.every((byte, at) => byte === local.address[at]);
      return !isSame && !this.#agentPorts().includes(port);
    } catch {
      return false; // see `canTell`
    }
  }

  /** The kernel may take other addresses for its own, too: then there is a socket. */
  #isOnItsWay({peer, local}: Ends): boolean {
    return !isOwnAddress(local.address) && socketOfConnection(local, peer) === undefined;
  }

  #isProxys({peer, local}: Ends, isLoopback: boolean): boolean {
    if (!this.#hasTransparent) return false;
    const socket = socketOfConnection(local, peer);
    if (socket === undefined || socket.isOver) {
      return !isLoopback && this.#wasProxys.get(local.port) === true;
    }
    if (!isLoopback) this.#wasProxys.set(local.port, socket.isTransparent);
    return socket.isTransparent;
  }

  #look(nowMs: number): void {
    this.#lookedAt = nowMs;
    try {
      this.#hasTransparent = ([4, 6] as const).some((family) =>
        connections(family, {}, 'listening').some(({isTransparent}) => isTransparent),
      );
    } catch {
      this.#hasTransparent = false; // no sock_diag
    }
  }
}
