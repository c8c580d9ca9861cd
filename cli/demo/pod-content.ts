/**
 * What a pod sees of its own: its environment and its files, as a kubelet would make them. Pure.
 */

import {isIPv6} from 'node:net';
import {domain, namespace, node, podAddresses} from './addressing.ts';
import type {PodSpec} from './pods.ts';
import type {ServicePort, ServiceSpec} from './services.ts';

/** A certificate whose key nobody has: a real one, so that tools can parse it. */
const caCertificate = `-----BEGIN CERTIFICATE-----
MIIBjDCCATGgAwIBAgIUUNzHQ0nP5cbyxooCPVj9H/EUHWEwCgYIKoZIzj0EAwIw
GjEYMBYGA1UEAwwPbWlycm9yZC1kZW1vLWNhMCAXDTI2MTEyMjE2NDYwMFoYDzIx
MjYxMDI5MTY0NjAwWjAaMRgwFgYDVQQDDA9taXJyb3JkLWRlbW8tY2EwWTATBgcq
hkjOPQIBBggqhkjOPQMBBwNCAATMlNF0pEhz9Mm6iuL5LLUPMz2QAwY3pPnwUQWN
wtoQS0FlSIX0In6b1kpPz8eRbiTJxIkQkrFhMrY8LWoqLAzKo1MwUTAdBgNVHQ4E
FgQUBs9+HklrYlEaRsTlV+oQcJJLBs4wHwYDVR0jBBgwFoAUBs9+HklrYlEaRsTl
V+oQcJJLBs4wDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNJADBGAiEA2nFN
W9emzOpW1debdeehNxlEZ95jMS9z713eivJ78ioCIQDYk/cY5lnJhKEgsISIHnUG
IDwZqUa1ESjlqW6FVLR62Q==
-----END CERTIFICATE-----
`;

const systemPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

function base64url(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}

/** A token in the form of a service account's; its signature is worth nothing. */
function serviceAccountToken(pod: PodSpec): string {
  const claims = {
    iss: `https://kubernetes.${namespace}.svc.${domain}`,
    sub: `system:serviceaccount:${namespace}:${pod.app}`,
    'kubernetes.io': {namespace, pod: {name: pod.name}, serviceaccount: {name: pod.app}},
  };
  return `${base64url({alg: 'none'})}.${base64url(claims)}.demo`;
}

/** The variables that tell a pod of one port of a service ("docker links", kubelet's envvars.go). */
function portVariables(prefix: string, host: string, port: ServicePort): [string, string][] {
  const address = isIPv6(host) ? `[${host}]` : host;
  const url = `${port.protocol}://${address}:${port.port}`;
  const base = `${prefix}_PORT_${port.port}_${port.protocol.toUpperCase()}`;
  return [
    [`${prefix}_SERVICE_PORT_${port.name.toUpperCase().replaceAll('-', '_')}`, String(port.port)],
    [base, url],
    [`${base}_PROTO`, port.protocol],
    [`${base}_PORT`, String(port.port)],
    [`${base}_ADDR`, host],
  ];
}

/** The variables for all services of the pod's namespace that have a cluster IP. */
export function serviceEnvironment(all: readonly ServiceSpec[]): Record<string, string> {
  const variables: [string, string][] = [];
  for (const service of all) {
    const [host] = service.clusterIPs;
    const [first] = service.ports;
    if (service.namespace !== namespace || host === undefined || first === undefined) continue;
    const prefix = service.name.toUpperCase().replaceAll('-', '_');
    const address = isIPv6(host) ? `[${host}]` : host;
    variables.push(
      [`${prefix}_SERVICE_HOST`, host],
      [`${prefix}_SERVICE_PORT`, String(first.port)],
      [`${prefix}_PORT`, `${first.protocol}://${address}:${first.port}`],
      ...service.ports.flatMap((port) => portVariables(prefix, host, port)),
    );
  }
  return Object.fromEntries(variables);
}

/** The whole environment of a pod: nothing of this machine's. */
export function podEnvironment(
  pod: PodSpec,
  all: readonly ServiceSpec[],
): Readonly<Record<string, string>> {
  const {v4, v6} = podAddresses(pod.host);
  return {
    PATH: systemPath,
    HOME: pod.root === 'container' ? '/root' : '/tmp',
    HOSTNAME: pod.name,
    POD_NAME: pod.name,
    POD_NAMESPACE: namespace,
    POD_IP: v4,
    POD_IPS: `${v4},${v6}`,
    ...serviceEnvironment(all),
    ...pod.env,
  };
}

/** resolv.conf(5) of every pod: what "ClusterFirst" makes. */
export const resolvConf = [
  `nameserver ${node.dns}`,
  `search ${namespace}.svc.${domain} svc.${domain} ${domain}`,
  'options ndots:5',
  '',
].join('\n');

/** The files that name the pod and its network, for every kind of root. */
export function networkFiles(pod: PodSpec): Record<string, string> {
  const {v4, v6} = podAddresses(pod.host);
  const hosts = [
    '# Kubernetes-managed hosts file.',
    '127.0.0.1\tlocalhost',
    '::1\tlocalhost ip6-localhost ip6-loopback',
    `${v4}\t${pod.name}`,
    `${v6}\t${pod.name}`,
    '',
  ];
  return {
    '/etc/hostname': `${pod.name}\n`,
    '/etc/hosts': hosts.join('\n'),
    '/etc/resolv.conf': resolvConf,
  };
}

/** The files of a container root that are its own; `uid` and `gid` are those that it runs with. */
export function containerFiles(pod: PodSpec, uid: number, gid: number): Record<string, string> {
  const account = '/var/run/secrets/kubernetes.io/serviceaccount';
  const user = uid === 0 ? '' : `app:x:${uid}:${gid}:app:/root:/bin/sh\n`;
  const group = gid === 0 ? '' : `app:x:${gid}:\n`;
  return {
    ...networkFiles(pod),
    '/etc/passwd': `root:x:0:0:root:/root:/bin/sh\n${user}`,
    '/etc/group': `root:x:0:\n${group}`,
    '/etc/nsswitch.conf': 'passwd: files\ngroup: files\nhosts: files dns\n',
    '/etc/os-release': [
      'NAME="mirrord demo"',
      'ID=mirrord-demo',
      'VERSION_ID="1"',
      `PRETTY_NAME="mirrord demo (${pod.app})"`,
      '',
    ].join('\n'),
    '/app/config.json': '{}\n',
    [`${account}/token`]: serviceAccountToken(pod),
    [`${account}/namespace`]: namespace,
    [`${account}/ca.crt`]: caCertificate,
    ...pod.files,
  };
}
