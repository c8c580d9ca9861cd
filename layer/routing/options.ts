/**
 * What a person may choose about the program's network: which connections and names are the pod's business,
 * and which this machine's.
 */

import type {Filter} from './filter.ts';

/** Who carries a connection or answers for a name: the agent in the pod, or this machine. */
export type Side = 'agent' | 'host';

/** A list of filters: what fits one is for `side`, all else for the other. */
export interface FilterList {
  readonly side: Side;
  readonly rules: readonly Filter[];
}

/** Ports from the first to the last, both included. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

export interface DnsOptions {
  /** Names as the pod resolves them; else all by this machine, with its own resolver files. */
  readonly isEnabled: boolean;
  readonly filter?: FilterList;
}

export interface NetworkOptions {
  /** Connections are made from the pod; else all from this machine. */
  readonly tcp: boolean;
  /** The same for datagrams. */
  readonly udp: boolean;
  /** Localhost is this machine's instead of the pod's, where the program itself doesn't listen. */
  readonly ignoreLocalhost: boolean;
  readonly filter?: FilterList;
  readonly dns: DnsOptions;
  /** The program has IPv6. */
  readonly ipv6: boolean;
  /** Ports of localhost at which a debugger on this machine waits for the program. */
  readonly debuggerPorts: readonly PortRange[];
}

/** Everything as in the pod. */
export const defaultNetwork: NetworkOptions = {
  tcp: true,
  udp: true,
  ignoreLocalhost: false,
  dns: {isEnabled: true},
  ipv6: true,
  debuggerPorts: [],
};
