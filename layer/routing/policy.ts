/**
 * Decides for each destination whether the agent or this machine carries its traffic. Pure.
 *
 * In this order: the pod's own addresses are the pod's; localhost is this machine's where a debugger waits or
 * where all of it was asked for; a protocol that is switched off is this machine's; then the filter says.
 * Rules with a name fit the addresses that DNS gave for that name (`names.ts`), also when the program's
 * resolver had completed it by a search domain.
 */

import type {IpAddress} from '../../netstack/types.ts';
import {addressBytes} from '../address.ts';
import type {Filter, FilterHost} from './filter.ts';
import type {FilterList, NetworkOptions, PortRange, Side} from './options.ts';
import {withSearchDomains} from './search-domains.ts';

export type Protocol = 'tcp' | 'udp';

/** A destination, and the names it is known by, in lower case. */
export interface Destination {
  readonly protocol: Protocol;
  readonly address: IpAddress;
  readonly port: number;
  readonly names: Iterable<string>;
}

export interface Policy {
  /** Everything is the agent's: no destination needs to be looked at. */
  readonly isAllAgent: boolean;
  /** Who carries the traffic to a destination. */
  side(destination: Destination): Side;
}

export interface PolicyContext {
  /** The pod's own addresses. */
  readonly own: readonly IpAddress[];
  /** By which the program's resolver completes names. */
  readonly searchDomains: readonly string[];
}

/** Whether the first `bits` of two addresses are the same; never for different families. */
export function hasPrefix(address: IpAddress, prefix: IpAddress, bits: number): boolean {
  if (address.length !== prefix.length) return false;
  const whole = bits >> 3;
  for (let i = 0; i < whole; i++) if (address[i] !== prefix[i]) return false;
  const rest = bits & 7;
  return rest === 0 || ((address[whole] ?? 0) ^ (prefix[whole] ?? 0)) >> (8 - rest) === 0;
}

const loopback4 = addressBytes('127.0.0.0');
const loopback6 = addressBytes('::1');

/** Whether an address is of the loopback interface: 127.0.0.0/8, ::1. */
export function isLoopback(address: IpAddress): boolean {
  return hasPrefix(address, loopback4, 8) || hasPrefix(address, loopback6, 128);
}

/** Whether a port is in one of the ranges. */
export function isInRanges(port: number, ranges: readonly PortRange[]): boolean {
  return ranges.some(({first, last}) => port >= first && port <= last);
}

function compileHost(
  host: FilterHost,
  searchDomains: readonly string[],
): (destination: Destination) => boolean {
  switch (host.kind) {
    case 'any':
      return () => true;
    case 'name': {
      const wanted = new Set(withSearchDomains(host.name, searchDomains));
      return ({names}) => {
        for (const name of names) if (wanted.has(name)) return true;
        return false;
      };
    }
    case 'address':
    case 'subnet': {
      const prefix = addressBytes(host.address);
      const bits = host.kind === 'subnet' ? host.length : prefix.length * 8;
      return ({address}) => hasPrefix(address, prefix, bits);
    }
  }
}

function compileRule(
  {protocol, host, port}: Filter,
  searchDomains: readonly string[],
): (destination: Destination) => boolean {
  const hostFits = compileHost(host, searchDomains);
  return (destination) =>
    (protocol === 'any' || protocol === destination.protocol) &&
    (port === 0 || port === destination.port) &&
    hostFits(destination);
}

function compileFilter(
  filter: FilterList | undefined,
  searchDomains: readonly string[],
): (destination: Destination) => Side {
  if (filter === undefined) return () => 'agent';
  const rules = filter.rules.map((rule) => compileRule(rule, searchDomains));
  const other: Side = filter.side === 'agent' ? 'host' : 'agent';
  return (destination) => (rules.some((fits) => fits(destination)) ? filter.side : other);
}

/** Whether some destination, and hence some port of localhost, may be this machine's. */
export function isDivided(options: Omit<NetworkOptions, 'dns' | 'ipv6'>): boolean {
  const {tcp, udp, ignoreLocalhost, filter, debuggerPorts} = options;
  return !tcp || !udp || ignoreLocalhost || filter !== undefined || debuggerPorts.length > 0;
}

/** Makes the policy that a person's choices amount to. */
export function createPolicy(
  options: Omit<NetworkOptions, 'dns' | 'ipv6'>,
  {own, searchDomains}: PolicyContext,
): Policy {
  const {tcp, udp, ignoreLocalhost, filter, debuggerPorts} = options;
  const filtered = compileFilter(filter, searchDomains);
  const isOwn = (address: IpAddress): boolean =>
    own.some((each) => hasPrefix(address, each, each.length * 8));
  return {
    isAllAgent: !isDivided(options),
    side(destination) {
      const {protocol, address, port} = destination;
      if (isOwn(address)) return 'agent';
      if (isLoopback(address)) {
        if (ignoreLocalhost) return 'host';
        if (protocol === 'tcp' && isInRanges(port, debuggerPorts)) return 'host';
      }
      return (protocol === 'tcp' ? tcp : udp) ? filtered(destination) : 'host';
    },
  };
}
