/**
 * kube-proxy as text: the nftables rules that make cluster IPs work. Pure; `node-network.ts` loads them.
 *
 * A connection to a service port gets one of the endpoints at random, by destination NAT in the node,
 * through which all traffic of the pods is routed (the reply passes the same way and is translated
 * back). A pod that reaches itself by its own service would answer itself directly, so such a
 * connection is masqueraded ("hairpin"). What no rule translates and still goes to a service range, for
 * want of an endpoint or of such a port, is answered by ICMP port unreachable: the client sees
 * ECONNREFUSED at once, as with kube-proxy.
 */

import {isIPv6} from 'node:net';
import {node, podAddresses, unreachable} from './addressing.ts';
import type {PodSpec} from './pods.ts';
import {type Endpoint, endpointsOf, type ServicePort, type ServiceSpec} from './services.ts';

/** The name of the table, which one transaction replaces as a whole. */
const table = 'inet kube-proxy';

/** One port of one cluster IP, or undefined without an endpoint of its family. */
function portRule(
  clusterIp: string,
  port: ServicePort,
  endpoints: readonly Endpoint[],
): string | undefined {
  const v6 = isIPv6(clusterIp);
  const family = v6 ? 'ip6' : 'ip';
  const targets = endpoints
    .flatMap((endpoint) => (v6 ? endpoint.v6 : endpoint.v4) ?? [])
    .map((address, index) => `${index} : ${address} . ${port.targetPort}`);
  if (targets.length === 0) return undefined;
  return (
    `${family} daddr ${clusterIp} ${port.protocol} dport ${port.port} ` +
    `dnat ${family} to numgen random mod ${targets.length} map { ${targets.join(', ')} }`
  );
}

function serviceRules(service: ServiceSpec, ready: readonly PodSpec[]): string[] {
  if (service.isNode === true) return [];
  const endpoints = endpointsOf(service, ready);
  return service.clusterIPs.flatMap((clusterIp) =>
    service.ports.flatMap((port) => portRule(clusterIp, port, endpoints) ?? []),
  );
}

function hairpinRules(ready: readonly PodSpec[]): string[] {
  const own = ready.map(({host}) => podAddresses(host));
  if (own.length === 0) return [];
  const v4 = own.map((address) => `${address.v4} . ${address.v4}`);
  const v6 = own.map((address) => `${address.v6} . ${address.v6}`);
  return [
    `ct status dnat ip saddr . ip daddr { ${v4.join(', ')} } masquerade`,
    `ct status dnat ip6 saddr . ip6 daddr { ${v6.join(', ')} } masquerade`,
  ];
}

/** What ICMPv6 calls the reasons of ICMP. */
const inIcmpv6 = {
  'host-unreachable': 'addr-unreachable',
  'admin-prohibited': 'admin-prohibited',
  'net-unreachable': 'no-route',
} as const;

function fixtureRules(): string[] {
  return unreachable.flatMap(({host, does}) => {
    const {v4, v6} = podAddresses(host);
    if (does === 'drop') return [`ip daddr ${v4} drop`, `ip6 daddr ${v6} drop`];
    return [
      `ip daddr ${v4} reject with icmp ${does}`,
      `ip6 daddr ${v6} reject with icmpv6 ${inIcmpv6[does]}`,
    ];
  });
}

function chain(name: string, rules: readonly string[]): string {
  return `  chain ${name} {\n${rules.map((rule) => `    ${rule}\n`).join('')}  }\n`;
}

/** The rules for the pods that are ready, as one nft transaction that replaces the previous ones. */
export function kubeProxyRules(all: readonly ServiceSpec[], ready: readonly PodSpec[]): string {
  const chains = [
    chain(
      'services',
      all.flatMap((service) => serviceRules(service, ready)),
    ),
    chain('prerouting', ['type nat hook prerouting priority dstnat', 'jump services']),
    chain('output', ['type nat hook output priority -100', 'jump services']),
    chain('postrouting', ['type nat hook postrouting priority srcnat', ...hairpinRules(ready)]),
    chain('forward', [
      'type filter hook forward priority filter',
      `ip daddr ${node.serviceRange4} reject with icmp port-unreachable`,
      `ip6 daddr ${node.serviceRange6} reject with icmpv6 port-unreachable`,
      ...fixtureRules(),
    ]),
    // IPv6 has no setting to keep a router from redirecting neighbours to each other, past the NAT.
    chain('redirects', ['type filter hook output priority filter', 'icmpv6 type nd-redirect drop']),
  ];
  // The first line makes the second succeed where there is no table yet (nft(8), "add", "delete").
  return `table ${table}\ndelete table ${table}\ntable ${table} {\n${chains.join('')}}\n`;
}
