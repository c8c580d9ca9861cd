/**
 * Decides for each name whether the pod's name server or this machine answers for it. Pure.
 *
 * Names of a filter fit exactly, in any case of letters, and as the program's resolver completes them by its
 * search domains; this machine is then asked for the name as the filter has it. Rules with an address or a
 * subnet are about questions for the name of an address. A rule's port is not looked at: a question has none.
 */

import {addressBytes} from '../../address.ts';
import type {FilterHost} from '../filter.ts';
import type {DnsOptions, FilterList, Side} from '../options.ts';
import {hasPrefix} from '../policy.ts';
import {withSearchDomains} from '../search-domains.ts';
import {reversedAddress} from './message.ts';

/** Who answers, and for this machine: under which name it looks. */
export interface NameDecision {
  readonly side: Side;
  readonly name: string;
}

/** The name that a rule stands for in a question; undefined when it doesn't fit. */
type RuleMatch = (name: string) => string | undefined;

function compileRule(host: FilterHost, searchDomains: readonly string[]): RuleMatch {
  switch (host.kind) {
    case 'any':
      return (name) => name;
    case 'name': {
      const wanted = new Set(withSearchDomains(host.name, searchDomains));
      return (name) => (wanted.has(name) ? host.name : undefined);
    }
    case 'address':
    case 'subnet': {
      const prefix = addressBytes(host.address);
      const bits = host.kind === 'subnet' ? host.length : prefix.length * 8;
      return (name) => {
        const address = reversedAddress(name);
        const fits = address !== undefined && hasPrefix(addressBytes(address), prefix, bits);
        return fits ? name : undefined;
      };
    }
  }
}

function decideBy(
  filter: FilterList,
  searchDomains: readonly string[],
): (name: string) => NameDecision {
  const rules = filter.rules.map(({host}) => compileRule(host, searchDomains));
  const other: Side = filter.side === 'agent' ? 'host' : 'agent';
  return (name) => {
    for (const rule of rules) {
      const meant = rule(name);
      if (meant !== undefined) return {side: filter.side, name: meant};
    }
    return {side: other, name};
  };
}

/** Makes the decision for names in lower case and without a final dot. */
export function createDnsPolicy(
  {isEnabled, filter}: DnsOptions,
  searchDomains: readonly string[],
): (name: string) => NameDecision {
  if (!isEnabled) return (name) => ({side: 'host', name});
  if (filter === undefined) return (name) => ({side: 'agent', name});
  return decideBy(filter, searchDomains);
}

/**
 * The DNS options that an outgoing filter implies: its names resolve where they are reached. Names that stay
 * local make a filter if there is none; names of the pod are but added to one.
 */
export function withOutgoingNames(dns: DnsOptions, outgoing: FilterList | undefined): DnsOptions {
  const names = outgoing?.rules.filter(({host}) => host.kind === 'name') ?? [];
  if (outgoing === undefined || names.length === 0) return dns;
  const {filter} = dns;
  if (filter === undefined) {
    return outgoing.side === 'host' ? {...dns, filter: {side: 'host', rules: names}} : dns;
  }
  if (filter.side !== outgoing.side) return dns;
  return {...dns, filter: {...filter, rules: [...filter.rules, ...names]}};
}
