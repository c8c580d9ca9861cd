/**
 * The demo cluster's address plan. The ranges are those that most clusters have by default, so that
 * what works here works there.
 */

/** The node: one bridge, to which all pods are connected, and the ranges behind it. */
export const node = {
  bridge: 'mirrord0',
  gateway4: '10.244.0.1',
  gateway6: 'fd00:10:244::1',
  podRange4: '10.244.0.0/24',
  podRange6: 'fd00:10:244::/64',
  serviceRange4: '10.96.0.0/16',
  serviceRange6: 'fd00:10:96::/112',
  /** Cluster IP of the DNS service; the node itself answers there. */
  dns: '10.96.0.10',
} as const;

/** The cluster's domain, and the namespace of all pods. */
export const domain = 'cluster.local';
export const namespace = 'default';

/** Hosts of the pod range that `demo run` gives to its pods. */
export const extraHosts = {first: 100, last: 199} as const;

export interface Addresses {
  v4: string;
  v6: string;
}

/** The addresses of host number `host` (2–254) of the pod range. Its decimal digits appear in both. */
export function podAddresses(host: number): Addresses {
  return {v4: `10.244.0.${host}`, v6: `fd00:10:244::${host}`};
}

/**
 * Addresses at which nobody is, and what happens to a packet for them: ways to fail that a program, and
 * our tests, must tell apart. Each has a headless service of its name.
 */
export const unreachable = [
  {name: 'blackhole', host: 250, does: 'drop'},
  {name: 'host-unreachable', host: 251, does: 'host-unreachable'},
  {name: 'admin-prohibited', host: 252, does: 'admin-prohibited'},
  {name: 'net-unreachable', host: 253, does: 'net-unreachable'},
] as const;
