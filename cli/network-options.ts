/** The program's network, from the configuration and from what IDEs put into the environment. */

import {
  debuggerKinds,
  detectPorts,
  type ProgramWords,
  parsePortRanges,
} from '../layer/routing/debugger-ports.ts';
import {type Filter, parseDnsFilter, parseOutgoingFilter} from '../layer/routing/filter.ts';
import type {FilterList, NetworkOptions, PortRange} from '../layer/routing/options.ts';
import type {ResolvedConfig} from './config/schema/root.ts';

type Written = {remote: readonly string[]} | {local: readonly string[]};

/** A filter as the layer takes it; undefined for an empty one, which filters nothing. */
function filterList(
  filter: Written | undefined,
  parse: (text: string) => Filter | undefined,
): FilterList | undefined {
  if (filter === undefined) return undefined;
  const [side, texts] =
    'remote' in filter ? (['agent', filter.remote] as const) : (['host', filter.local] as const);
  // What doesn't parse was refused with the configuration.
  const rules = texts.map(parse).filter((rule) => rule !== undefined);
  return rules.length === 0 ? undefined : {side, rules};
}

function parseName(text: string): Filter | undefined {
  const {value} = parseDnsFilter(text);
  return value === undefined ? undefined : {protocol: 'any', ...value};
}

/** The debugger's ports, and what of the variables makes no sense, as sentences. */
export function debuggerPorts(program: ProgramWords): {ports: PortRange[]; warnings: string[]} {
  const warnings: string[] = [];
  const {ranges, problems} = parsePortRanges(program.env['MIRRORD_IGNORE_DEBUGGER_PORTS'] ?? '');
  if (problems.length > 0) {
    warnings.push(
      `MIRRORD_IGNORE_DEBUGGER_PORTS: ${problems.join(', ')}: neither a port nor a range of ports (1234,35000-65535)`,
    );
  }
  const wanted = program.env['MIRRORD_DETECT_DEBUGGER_PORT'] ?? '';
  if (wanted === '') return {ports: ranges, warnings};
  const kind = debuggerKinds.find((each) => each === wanted.toLowerCase());
  if (kind === undefined) {
    warnings.push(
      `MIRRORD_DETECT_DEBUGGER_PORT: ${wanted} is no debugger that is known (${debuggerKinds.join(', ')})`,
    );
    return {ports: ranges, warnings};
  }
  return {ports: [...ranges, ...detectPorts(kind, program)], warnings};
}

/** `feature.network` as the layer takes it, but for incoming traffic. */
export function networkOptions(
  {feature: {network}}: ResolvedConfig,
  ports: readonly PortRange[],
): NetworkOptions {
  const {outgoing, dns} = network;
  const filter = filterList(outgoing.filter, (text) => parseOutgoingFilter(text).value);
  const names = filterList(dns.filter, parseName);
  return {
    tcp: outgoing.tcp,
    udp: outgoing.udp,
    ignoreLocalhost: outgoing.ignore_localhost,
    ...(filter !== undefined && {filter}),
    dns: {isEnabled: dns.enabled, ...(names !== undefined && {filter: names})},
    ipv6: network.ipv6,
    debuggerPorts: ports,
  };
}
