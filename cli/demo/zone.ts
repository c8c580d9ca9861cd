/**
 * The DNS records of the cluster, by the specification "Kubernetes DNS-Based Service Discovery" 1.1.0,
 * which CoreDNS follows. Pure: services and ready pods in, records out.
 */

import {isIPv6} from 'node:net';
import {domain, namespace, podAddresses} from './addressing.ts';
import type {PodSpec} from './pods.ts';
import {type Endpoint, endpointsOf, type ServiceSpec} from './services.ts';

export interface SrvRecord {
  priority: number;
  weight: number;
  port: number;
  target: string;
}

/** All records of one name. A name may have none: then others exist below it. */
export interface RecordSet {
  a: string[];
  aaaa: string[];
  srv: SrvRecord[];
  ptr: string[];
  cname?: string;
}

/** Record sets by name, in lower case and without the final dot. */
export type Zone = ReadonlyMap<string, RecordSet>;

class ZoneBuilder {
  readonly zone = new Map<string, RecordSet>();

  /** The set of a name, which exists from now on, and so do the names above it (RFC 8020). */
  at(name: string): RecordSet {
    const found = this.zone.get(name);
    if (found !== undefined) return found;
    const made: RecordSet = {a: [], aaaa: [], srv: [], ptr: []};
    this.zone.set(name, made);
    const dot = name.indexOf('.');
    if (name.endsWith(`.${domain}`)) this.at(name.slice(dot + 1));
    return made;
  }

  address(name: string, address: string): void {
    const {a, aaaa} = this.at(name);
    (isIPv6(address) ? aaaa : a).push(address);
  }

  reverse(address: string, name: string): void {
    this.at(reverseName(address)).ptr.push(name);
  }
}

/** The four-digit groups of an IPv6 address without a zone or an embedded IPv4 address. */
function expand(address: string): string[] {
  const [head = '', tail] = address.split('::');
  const front = head === '' ? [] : head.split(':');
  const back = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = tail === undefined ? 0 : 8 - front.length - back.length;
  return [...front, ...Array<string>(zeros).fill('0'), ...back].map((g) => g.padStart(4, '0'));
}

/** The name under which an address is looked up in reverse (RFC 1035 section 3.5, RFC 3596 section 2.5). */
export function reverseName(address: string): string {
  return isIPv6(address)
    ? `${[...expand(address).join('')].reverse().join('.')}.ip6.arpa`
    : `${address.split('.').reverse().join('.')}.in-addr.arpa`;
}

/** What each target of an SRV set gets, so that together they make 100 (as CoreDNS does). */
function weightOf(count: number): number {
  return Math.max(1, Math.floor(100 / count));
}

function addHeadless(
  builder: ZoneBuilder,
  service: ServiceSpec,
  base: string,
  endpoints: readonly Endpoint[],
): void {
  for (const endpoint of endpoints) {
    const own = `${endpoint.name}.${base}`;
    for (const address of [endpoint.v4, endpoint.v6]) {
      if (address === undefined) continue;
      builder.address(base, address);
      builder.address(own, address);
      builder.reverse(address, own);
    }
    for (const {name, protocol, port} of service.ports) {
      const weight = weightOf(endpoints.length);
      builder
        .at(`_${name}._${protocol}.${base}`)
        .srv.push({priority: 0, weight, port, target: own});
    }
  }
}

function addService(
  builder: ZoneBuilder,
  service: ServiceSpec,
  endpoints: readonly Endpoint[],
): void {
  const base = `${service.name}.${service.namespace}.svc.${domain}`;
  const set = builder.at(base);
  if (service.externalName !== undefined) {
    set.cname = service.externalName;
  } else if (service.clusterIPs.length === 0) {
    addHeadless(builder, service, base, endpoints);
  } else {
    for (const address of service.clusterIPs) {
      builder.address(base, address);
      builder.reverse(address, base);
    }
    for (const {name, protocol, port} of service.ports) {
      const srv = {priority: 0, weight: 100, port, target: base};
      builder.at(`_${name}._${protocol}.${base}`).srv.push(srv);
    }
  }
}

/** Makes the zone for the pods that are ready. */
export function makeZone(all: readonly ServiceSpec[], ready: readonly PodSpec[]): Zone {
  const builder = new ZoneBuilder();
  for (const service of all) addService(builder, service, endpointsOf(service, ready));
  for (const pod of ready) {
    const {v4, v6} = podAddresses(pod.host);
    for (const address of [v4, v6]) {
      const label = address.replaceAll(/[.:]/g, '-');
      builder.address(`${label}.${namespace}.pod.${domain}`, address);
    }
  }
  return builder.zone;
}
