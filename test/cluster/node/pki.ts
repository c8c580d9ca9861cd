/**
 * The cluster's keys, certificates and kubeconfigs, made anew for every cluster, by openssl(1).
 *
 * One authority signs all. A certificate's subject is who its holder is to the API server: CN the user, O
 * the group ("Authenticating: X.509 client certificates" of Kubernetes' documentation).
 */

import {generateKeyPairSync} from 'node:crypto';
import {mkdirSync, readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {stringify} from 'yaml';
import {output} from './process.ts';

const nodeName = 'node';
/** Names and addresses by which the API server is reached: the machine's, the node's, and the service's. */
const apiServerNames = [
  'DNS:localhost',
  'DNS:kubernetes',
  'DNS:kubernetes.default',
  'DNS:kubernetes.default.svc',
  'DNS:kubernetes.default.svc.cluster.local',
  'IP:127.0.0.1',
  'IP:172.31.99.2',
  'IP:10.96.0.1',
];
/** The kubelet's, for logs, exec and port-forward. */
const kubeletNames = [`DNS:${nodeName}`, 'IP:172.31.99.2', 'IP:fd00:172:31:99::2'];

interface Identity {
  name: string;
  user: string;
  group?: string;
  /** It serves by these, besides being a client. */
  serves?: readonly string[];
  /** It has a kubeconfig. */
  isClient?: boolean;
}

const identities: readonly Identity[] = [
  {name: 'admin', user: 'kubernetes-admin', group: 'system:masters', isClient: true},
  {name: 'controller-manager', user: 'system:kube-controller-manager', isClient: true},
  {name: 'scheduler', user: 'system:kube-scheduler', isClient: true},
  {name: 'proxy', user: 'system:kube-proxy', isClient: true},
  {
    name: 'kubelet',
    user: `system:node:${nodeName}`,
    group: 'system:nodes',
    isClient: true,
    serves: kubeletNames,
  },
  {name: 'apiserver', user: 'kube-apiserver', serves: apiServerNames},
  {
    name: 'apiserver-kubelet-client',
    user: 'kube-apiserver-kubelet-client',
    group: 'system:masters',
  },
];

const days = '3650';
const elliptic = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];

async function certificate(
  directory: string,
  name: string,
  args: readonly string[],
): Promise<void> {
  const files = ['-keyout', join(directory, `${name}.key`), '-out', join(directory, `${name}.crt`)];
  await output('openssl', ['req', '-x509', ...elliptic, '-days', days, ...args, ...files]);
}

async function authority(directory: string): Promise<void> {
  const usage = ['-addext', 'keyUsage=critical,keyCertSign,cRLSign'];
  await certificate(directory, 'ca', ['-subj', '/CN=mirrord-test-cluster', ...usage]);
}

async function identify(directory: string, {name, user, group, serves}: Identity): Promise<void> {
  const usages = serves === undefined ? 'clientAuth' : 'clientAuth,serverAuth';
  const extensions = [
    'basicConstraints=critical,CA:FALSE',
    'keyUsage=critical,digitalSignature',
    `extendedKeyUsage=${usages}`,
    ...(serves === undefined ? [] : [`subjectAltName=${serves.join(',')}`]),
  ];
  await certificate(directory, name, [
    ...['-CA', join(directory, 'ca.crt'), '-CAkey', join(directory, 'ca.key')],
    ...['-subj', `${group === undefined ? '' : `/O=${group}`}/CN=${user}`],
    ...extensions.flatMap((each) => ['-addext', each]),
  ]);
}

/** The kubeconfig of one of the identities, for an API server at `server`; it holds all it needs. */
export function kubeconfig(directory: string, name: string, server: string): string {
  const encoded = (file: string): string => readFileSync(join(directory, file)).toString('base64');
  const context = 'mirrord-test';
  return stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{name: context, cluster: {server, 'certificate-authority-data': encoded('ca.crt')}}],
    users: [
      {
        name,
        user: {
          'client-certificate-data': encoded(`${name}.crt`),
          'client-key-data': encoded(`${name}.key`),
        },
      },
    ],
    contexts: [{name: context, context: {cluster: context, user: name, namespace: 'default'}}],
    'current-context': context,
  });
}

/** Makes all of them in a new directory, for root only. `server` is where the node's own find the API server. */
export async function makePki(directory: string, server: string): Promise<void> {
  mkdirSync(directory, {mode: 0o700});
  await authority(directory);
  await Promise.all(identities.map((identity) => identify(directory, identity)));
  for (const {name, isClient} of identities) {
    if (isClient) {
      writeFileSync(join(directory, `${name}.kubeconfig`), kubeconfig(directory, name, server));
    }
  }
  // Of the tokens of service accounts. The API server knows keys in this form.
  const {privateKey} = generateKeyPairSync('ec', {
    namedCurve: 'P-256',
    publicKeyEncoding: {type: 'spki', format: 'pem'},
    privateKeyEncoding: {type: 'sec1', format: 'pem'},
  });
  writeFileSync(join(directory, 'service-accounts.key'), privateKey);
}
