/**
 * Connections to a port that stand already when it is redirected: they stay with the application, unless they are cut.
 *
 * Theory of operation. NAT decides at a connection's first packet, so one that stands is nobody's to redirect: it must be
 * ended, and its client connects again. sock_diag lists the sockets that have the port as their own, which are the
 * application's, and ends them (SOCK_DESTROY), which resets both ends at once. Left alone are
 *
 *     what an agent passes on       its other end has the agents' mark, and somebody's request on it
 *     clients of a mesh's proxy     they are at a port of the proxy's; or by TPROXY at this one, by a socket that is
 *                                   transparent: the proxy's connections to the application are cut, behind which it
 *                                   makes others
 *     what is nearly over           only ESTABLISHED ones can bring another request
 *
 * Only where somebody listens on the port, so that none is taken for the application's which another process has
 * made from there. Cutting by conntrack alone, as one may where SOCK_DESTROY is missing, would do nothing: what the
 * kernel then meets in the middle of a connection, it tracks again, and the rules redirect only a SYN.
 */

import {errnoOf} from '../errno.ts';
import {type Connection, connections, destroyConnection, listeningSockets} from '../native.ts';
import {PASS_MARK} from './rules.ts';

const FAMILIES = [4, 6] as const;

/** What becomes of a port's standing connections: how many are cut, and why the others are not. */
export interface Cut {
  readonly count: number;
  readonly failure: string | undefined;
}

/** A connection as its other end has it, which may be of the other family (an IPv4 client of a socket of `::`). */
function keyOf(from: Connection['local'], to: Connection['local']): string {
  return [from, to].map(({address, port}) => `${unmapped(address)}:${port}`).join(' ');
}

/** The bytes of an IPv4 address, also where an IPv6 socket has it. */
export function unmapped(address: Uint8Array): string {
  const hex = Buffer.from(address).toString('hex');
  return hex.startsWith('00000000000000000000ffff') ? hex.slice(24) : hex;
}

/** Connections of the application's that stand. Throws what `connections` throws. */
export function standingConnections(port: number): Connection[] {
  const isListening = FAMILIES.some((family) =>
    listeningSockets(family, 'tcp').some((socket) => socket.port === port),
  );
  if (!isListening) return [];
  const all = FAMILIES.flatMap((family) => connections(family, {localPort: port}, 'established'));
  // Looked for second: the other end of whatever was found was there before.
  const passed = FAMILIES.flatMap((family) => connections(family, {peerPort: port}, 'open'))
    .filter(({mark}) => mark === PASS_MARK)
    .map(({local, peer}) => keyOf(local, peer));
  const isPassed = new Set(passed);
  return all.filter(
    ({local, peer, isTransparent}) => !isTransparent && !isPassed.has(keyOf(peer, local)),
  );
}

/** Cuts them. Never throws: the port is stolen all the same. */
export function cutStanding(port: number): Cut {
  let count = 0;
  try {
    for (const connection of standingConnections(port)) {
      if (cutOne(connection)) count++;
    }
    return {count, failure: undefined};
  } catch (error) {
    return {count, failure: reasonOf(error)};
  }
}

/** Whether it was still there. */
function cutOne(connection: Connection): boolean {
  try {
    destroyConnection(connection);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw error;
  }
}

const REASONS: Readonly<Record<string, string>> = {
  ENOTSUP: "the node's kernel can't (it lacks CONFIG_INET_DIAG_DESTROY)",
  EPERM: 'the agent lacks NET_ADMIN there',
  ENOENT: "the node's kernel has no sock_diag",
  EMSGSIZE: 'they are too many',
};

function reasonOf(error: unknown): string {
  return REASONS[errnoOf(error)] ?? String(error);
}
