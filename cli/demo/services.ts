/**
 * The services of the demo cluster, and which pods stand behind each.
 */

import {isIPv6} from 'node:net';
import {node, podAddresses, unreachable} from './addressing.ts';
import type {PodSpec} from './pods.ts';

export interface ServicePort {
  name: string;
  protocol: 'tcp' | 'udp';
  port: number;
  targetPort: number;
}

export interface ServiceSpec {
  name: string;
  namespace: string;
  /** Virtual addresses; none makes it headless: its name resolves to the pods themselves. */
  clusterIPs: readonly string[];
  /** Families of a headless service's endpoints; IPv4 unless told. Others have those of their addresses. */
  families?: readonly Family[];
  ports: readonly ServicePort[];
  /** Pods with this `app` are its endpoints. */
  selector?: string;
  /** Only a DNS alias of this name. */
  externalName?: string;
  /** One host of the pod range, whoever is there, instead of a selector. */
  fixedHost?: number;
  /** The node itself answers at the cluster IP. */
  isNode?: boolean;
}

type Family = 'v4' | 'v6';

/** One pod behind a service. */
export interface Endpoint {
  name: string;
  v4?: string;
  v6?: string;
}

function tcp(name: string, port: number, targetPort = port): ServicePort {
  return {name, protocol: 'tcp', port, targetPort};
}

function udp(name: string, port: number): ServicePort {
  return {name, protocol: 'udp', port, targetPort: port};
}

const inDefault = {namespace: 'default'};

/** The services, in the order in which `status` lists them. */
export const services: readonly ServiceSpec[] = [
  {
    ...inDefault,
    name: 'gateway',
    clusterIPs: ['10.96.0.20', 'fd00:10:96::20'],
    ports: [tcp('http', 80)],
    selector: 'gateway',
  },
  {
    ...inDefault,
    name: 'orders',
    clusterIPs: ['10.96.0.21'],
    ports: [tcp('http', 80, 8080)],
    selector: 'orders',
  },
  {
    ...inDefault,
    name: 'orders-headless',
    clusterIPs: [],
    ports: [tcp('http', 8080)],
    selector: 'orders',
  },
  {
    ...inDefault,
    name: 'echo',
    clusterIPs: ['10.96.0.22'],
    ports: [tcp('echo', 7), udp('echo-udp', 7), tcp('sink', 5001), tcp('source', 5002)],
    selector: 'echo',
  },
  {
    ...inDefault,
    name: 'chat',
    clusterIPs: ['10.96.0.23'],
    ports: [tcp('http', 80, 8080)],
    selector: 'chat',
  },
  {
    ...inDefault,
    name: 'v6',
    clusterIPs: ['fd00:10:96::24'],
    ports: [tcp('http', 80, 8080)],
    selector: 'v6',
  },
  // Nobody behind it: connections are refused.
  {
    ...inDefault,
    name: 'payments',
    clusterIPs: ['10.96.0.25'],
    ports: [tcp('http', 80)],
    selector: 'payments',
  },
  {
    ...inDefault,
    name: 'shop',
    clusterIPs: [],
    ports: [],
    externalName: 'gateway.default.svc.cluster.local',
  },
  {...inDefault, name: 'kubernetes', clusterIPs: ['10.96.0.1'], ports: [tcp('https', 443)]},
  {
    name: 'kube-dns',
    namespace: 'kube-system',
    clusterIPs: [node.dns],
    ports: [udp('dns', 53), tcp('dns-tcp', 53)],
    isNode: true,
  },
  ...unreachable.map(({name, host}) => ({
    ...inDefault,
    name,
    clusterIPs: [],
    ports: [],
    families: ['v4', 'v6'] as const,
    fixedHost: host,
  })),
];

function familiesOf({clusterIPs, families}: ServiceSpec): readonly Family[] {
  if (clusterIPs.length === 0) return families ?? ['v4'];
  return clusterIPs.map((address) => (isIPv6(address) ? 'v6' : 'v4'));
}

/** The pods behind a service, out of those that are ready, with the addresses that it uses of them. */
export function endpointsOf(service: ServiceSpec, ready: readonly PodSpec[]): Endpoint[] {
  const {selector, fixedHost, name} = service;
  const hosts =
    fixedHost === undefined ? ready.filter(({app}) => app === selector) : [{name, host: fixedHost}];
  const families = familiesOf(service);
  return hosts.map((pod) => {
    const {v4, v6} = podAddresses(pod.host);
    return {
      name: pod.name,
      ...(families.includes('v4') && {v4}),
      ...(families.includes('v6') && {v6}),
    };
  });
}
