/**
 * Rules of ports, deliveries, and the filters of outgoing traffic and names.
 */

import {type Parsed, parseDnsFilter, parseOutgoingFilter} from '../../../layer/routing/filter.ts';
import type {Path} from '../path.ts';
import {error, type Finding, type Rule, repeated, type Subject, warning, when} from './rule.ts';

const incoming = 'feature.network.incoming';

/** A list of ports to take and one of ports to leave contradict each other. */
export const portsOrIgnorePorts: Rule = ({config}) => {
  const {ports, ignore_ports: ignored} = config.feature.network.incoming;
  const both = ports !== undefined && ignored !== undefined;
  return when(both, error(`${incoming}.ignore_ports`, 'excludes ports: use one of the two'));
};

/** The old name and the new one of the same thing can't both be there. */
export const oneDelivery: Rule = ({config}) => {
  const {tls_delivery: tls, https_delivery: https} = config.feature.network.incoming;
  const both = tls !== undefined && https !== undefined;
  return when(both, error(`${incoming}.https_delivery`, 'excludes tls_delivery: use tls_delivery'));
};

/** Each side of a mapping of ports names a port once. */
export const bijectivePorts: Rule = ({config}) =>
  (['port_mapping', 'listen_ports'] as const).flatMap((name) => {
    const pairs = config.feature.network.incoming[name] ?? [];
    return [0, 1].flatMap((side) =>
      repeated(pairs.map((pair) => pair[side])).map((port) =>
        error(
          `${incoming}.${name}`,
          `has port ${port} twice on the ${side === 0 ? 'left' : 'right'} of its pairs`,
        ),
      ),
    );
  });

/** A port mapped to itself is as good as none. */
export const noIdentityMapping: Rule = ({config}) =>
  (config.feature.network.incoming.port_mapping ?? []).flatMap(([from, to], index) =>
    when(
      from === to,
      warning([...incoming.split('.'), 'port_mapping', index], `maps port ${from} to itself`),
    ),
  );

function filterOf({config}: Subject, kind: 'outgoing' | 'dns') {
  const filter = config.feature.network[kind].filter;
  if (filter === undefined) return undefined;
  const side = 'remote' in filter ? 'remote' : 'local';
  const texts = 'remote' in filter ? filter.remote : filter.local;
  const path: Path = ['feature', 'network', kind, 'filter', side];
  return {side, texts, path};
}

function syntax(
  subject: Subject,
  kind: 'outgoing' | 'dns',
  parse: (text: string) => Parsed<unknown>,
) {
  const filter = filterOf(subject, kind);
  return (filter?.texts ?? []).flatMap((text, index): Finding[] => {
    const {problem} = parse(text);
    const path = [...(filter?.path ?? []), index];
    return problem === undefined ? [] : [error(path, `is not a filter: ${problem}`)];
  });
}

/** Filters of outgoing traffic are in their grammar. */
export const validOutgoingFilter: Rule = (subject) =>
  syntax(subject, 'outgoing', parseOutgoingFilter);

/** Filters of names are in their grammar. */
export const validDnsFilter: Rule = (subject) => syntax(subject, 'dns', parseDnsFilter);

/** An outgoing filter without destinations says nothing. */
export const outgoingFilterNotEmpty: Rule = (subject) => {
  const filter = filterOf(subject, 'outgoing');
  return filter?.texts.length === 0 ? [error(filter.path, 'needs at least one destination')] : [];
};

/** A DNS filter without names is most likely a mistake. */
export const dnsFilterNotEmpty: Rule = (subject) => {
  const filter = filterOf(subject, 'dns');
  return filter?.texts.length === 0 ? [warning(filter.path, 'is empty and filters nothing')] : [];
};

/** Names of a remote filter resolve locally when names aren't the target's. */
export const remoteFilterNeedsDns: Rule = (subject) => {
  const filter = filterOf(subject, 'outgoing');
  const off = !subject.config.feature.network.dns.enabled;
  if (filter === undefined || filter.side !== 'remote' || !off) return [];
  const message =
    'sends destinations to the target whose names are resolved locally, as dns is off';
  return [warning(filter.path, message)];
};

/** A filter of names has nothing to do while DNS is off. */
export const dnsFilterNeedsDns: Rule = (subject) => {
  const filter = filterOf(subject, 'dns');
  if (filter === undefined || subject.config.feature.network.dns.enabled) return [];
  return [warning(filter.path, 'has no effect, as dns is off')];
};

/** Names on one side of the outgoing filter and on the other of the DNS filter contradict each other. */
export const filtersAgree: Rule = (subject) => {
  const outgoing = filterOf(subject, 'outgoing');
  const dns = filterOf(subject, 'dns');
  if (outgoing === undefined || dns === undefined || outgoing.side === dns.side) return [];
  const names = outgoing.texts.flatMap((text) => {
    const host = parseOutgoingFilter(text).value?.host;
    return host?.kind === 'name' ? [host.name] : [];
  });
  if (names.length === 0) return [];
  const message = `is ${outgoing.side} while dns.filter is ${dns.side}: ${names.join(', ')} may resolve elsewhere than it is reached`;
  return [warning(outgoing.path, message)];
};
