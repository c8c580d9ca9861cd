/**
 * Finds the kubeconfig as kubectl does and hands it to the client library, which knows about users,
 * certificates, exec plugins and proxies.
 *
 * What the library doesn't do as kubectl does is put right on the way to it: several files are merged with
 * the first one winning, and missing ones are passed over; `tokenFile` is read again as it changes; an exec
 * plugin's relative path starts at its kubeconfig, and it is told of its cluster (KUBERNETES_EXEC_INFO);
 * groups and uid are impersonated, too; HTTPS_PROXY and NO_PROXY are heeded.
 */

import {existsSync, readFileSync} from 'node:fs';
import os from 'node:os';
import {dirname, join, resolve} from 'node:path';
import type {KubeConfig} from '@kubernetes/client-node';
import {parse} from 'yaml';
import {MirrordError} from '../../layer/errors.ts';
import {proxyFromEnvironment} from './proxy.ts';

/** Where the kubeconfig is, and which part of it is wanted. */
export interface KubeconfigOptions {
  /** Files, separated by colons; `~` and variables are expanded. By default KUBECONFIG, then ~/.kube/config. */
  kubeconfig?: string;
  context?: string;
  acceptInvalidCertificates?: boolean;
  /** false: HTTPS_PROXY and the like don't count. */
  useProxy?: boolean;
  env?: NodeJS.ProcessEnv;
}

/** A kubeconfig, reduced to one context. */
export interface LoadedKubeconfig {
  config: KubeConfig;
  context: string;
  server: string;
  namespace: string;
  /** The proxy's address, for messages: without name and password. */
  proxy: string | undefined;
  /** Headers beyond the library's: Impersonate-Group, Impersonate-Uid. */
  headers: Record<string, string | string[]>;
}

interface Named {
  name: string;
}

/** A kubeconfig's own form, as far as it is touched here. */
interface RawKubeconfig {
  clusters?: (Named & {cluster?: Record<string, unknown>})[];
  contexts?: (Named & {context?: {cluster?: string; user?: string; namespace?: string}})[];
  users?: (Named & {user?: RawUser})[];
  'current-context'?: string;
}

interface RawUser {
  [key: string]: unknown;
  token?: string;
  tokenFile?: string;
  exec?: RawExec;
  'as-groups'?: string[];
  'as-uid'?: string;
}

interface RawExec {
  apiVersion?: string;
  command?: string;
  env?: {name: string; value: string}[] | null;
  provideClusterInfo?: boolean;
}

const serviceAccount = '/var/run/secrets/kubernetes.io/serviceaccount/token';

/** Expands a leading `~` and variables. */
function expand(path: string, env: NodeJS.ProcessEnv): string {
  const home = env['HOME'] ?? os.homedir();
  return path
    .replace(/^~(?=\/|$)/, home)
    .replace(/\$(?:\{(\w+)\}|(\w+))/g, (_, braced, plain) => env[braced ?? plain] ?? '');
}

/** The files that are to be read, of which some may not exist. */
function kubeconfigFiles({kubeconfig, env = process.env}: KubeconfigOptions): string[] {
  const split = (list: string): string[] => list.split(':').filter((file) => file !== '');
  if (kubeconfig !== undefined) return split(kubeconfig).map((file) => expand(file, env));
  const fromEnvironment = split(env['KUBECONFIG'] ?? '');
  if (fromEnvironment.length > 0) return fromEnvironment;
  return [join(env['HOME'] ?? os.homedir(), '.kube/config')];
}

/** Whether there is something to load; looks only for the files. */
export function hasKubeconfig(options: KubeconfigOptions = {}): boolean {
  return kubeconfigFiles(options).some((file) => existsSync(file)) || isInCluster(options.env);
}

function isInCluster(env: NodeJS.ProcessEnv = process.env): boolean {
  return env['KUBERNETES_SERVICE_HOST'] !== undefined && existsSync(serviceAccount);
}

function invalid(message: string, cause?: unknown): MirrordError {
  return new MirrordError('MIRRORD_KUBECONFIG_INVALID', message, {
    hint: 'check: kubectl config view',
    ...(cause !== undefined && {cause}),
  });
}

function absolute(holder: Record<string, unknown>, key: string, directory: string): void {
  const path = holder[key];
  if (typeof path === 'string' && path !== '') holder[key] = resolve(directory, path);
}

/** Reads a file; paths in it are made absolute. */
function readKubeconfig(file: string): RawKubeconfig {
  let raw: RawKubeconfig;
  try {
    raw = (parse(readFileSync(file, 'utf8')) ?? {}) as RawKubeconfig;
  } catch (error) {
    throw invalid(`the kubeconfig ${file} can't be read: ${(error as Error).message}`, error);
  }
  if (typeof raw !== 'object') throw invalid(`${file} is no kubeconfig`);
  const directory = dirname(resolve(file));
  for (const {cluster = {}} of raw.clusters ?? []) {
    absolute(cluster, 'certificate-authority', directory);
  }
  for (const {user = {}} of raw.users ?? []) {
    for (const key of ['client-certificate', 'client-key', 'tokenFile']) {
      absolute(user, key, directory);
    }
    if (user.exec?.command?.includes('/')) {
      absolute(user.exec as Record<string, unknown>, 'command', directory);
    }
  }
  return raw;
}

/** Merges as kubectl does: of two entries with one name the first counts. */
function merge(all: readonly RawKubeconfig[]): RawKubeconfig {
  const unique = <T extends Named>(entries: readonly T[]): T[] =>
    entries.filter(({name}, index) => entries.findIndex((one) => one.name === name) === index);
  const current = all.find((one) => (one['current-context'] ?? '') !== '')?.['current-context'];
  return {
    clusters: unique(all.flatMap(({clusters}) => clusters ?? [])),
    contexts: unique(all.flatMap(({contexts}) => contexts ?? [])),
    users: unique(all.flatMap(({users}) => users ?? [])),
    ...(current !== undefined && {'current-context': current}),
  };
}

/** What an exec plugin learns about what it is for (client.authentication.k8s.io ExecCredential). */
function tellPlugin(exec: RawExec, cluster: Record<string, unknown>): void {
  const info = {
    kind: 'ExecCredential',
    apiVersion: exec.apiVersion ?? 'client.authentication.k8s.io/v1',
    spec: {
      interactive: false,
      ...(exec.provideClusterInfo === true && {
        cluster: {
          server: cluster['server'],
          'tls-server-name': cluster['tls-server-name'],
          'insecure-skip-tls-verify': cluster['insecure-skip-tls-verify'],
          'certificate-authority-data': cluster['certificate-authority-data'],
          'proxy-url': cluster['proxy-url'],
        },
      }),
    },
  };
  exec.env = [...(exec.env ?? []), {name: 'KUBERNETES_EXEC_INFO', value: JSON.stringify(info)}];
}

function contextMissing(name: string, raw: RawKubeconfig): MirrordError {
  const known = (raw.contexts ?? []).map((context) => context.name).join(', ') || 'none';
  return name === ''
    ? invalid(`the kubeconfig has no current context; its contexts: ${known}`)
    : invalid(`the kubeconfig has no context "${name}"; its contexts: ${known}`);
}

/** The entries of one context, ready for the library. */
function prepare(raw: RawKubeconfig, options: KubeconfigOptions) {
  const name = options.context ?? raw['current-context'] ?? '';
  const context = raw.contexts?.find((one) => one.name === name);
  if (context?.context === undefined) throw contextMissing(name, raw);
  const {cluster: clusterName = '', user: userName = '', namespace = 'default'} = context.context;
  const cluster = raw.clusters?.find((one) => one.name === clusterName)?.cluster;
  const server = cluster?.['server'];
  if (cluster === undefined || typeof server !== 'string' || !URL.canParse(server)) {
    throw invalid(`context "${name}" has no cluster with a server's address ("${clusterName}")`);
  }
  // Without TLS there is no certificate to insist on; the library would refuse.
  if (server.startsWith('http:')) cluster['insecure-skip-tls-verify'] = true;
  if (options.acceptInvalidCertificates !== undefined) {
    cluster['insecure-skip-tls-verify'] = options.acceptInvalidCertificates;
  }
  const fromEnvironment =
    options.useProxy === false ? undefined : proxyFromEnvironment(server, options.env);
  cluster['proxy-url'] ||= fromEnvironment;
  // Without a user the library would leave out the cluster's authority.
  const user = raw.users?.find((one) => one.name === userName)?.user ?? {};
  if (user.tokenFile !== undefined) {
    // Wins over `token`, which may be what the file held when the kubeconfig was written.
    delete user.token;
    user['auth-provider'] = {name: 'tokenFile', config: {tokenFile: user.tokenFile}};
  }
  if (user.exec !== undefined && user.exec !== null) tellPlugin(user.exec, cluster);
  return {name, clusterName, cluster, userName: userName || 'nobody', user, namespace, server};
}

function withoutPassword(proxy: string | undefined): string | undefined {
  return proxy?.replace(/^([^:/]+:\/\/)[^@/]*@/, '$1');
}

/** Loads it. Throws MIRRORD_KUBECONFIG_NOT_FOUND, MIRRORD_KUBECONFIG_INVALID. */
export async function loadKubeconfig(options: KubeconfigOptions = {}): Promise<LoadedKubeconfig> {
  const files = kubeconfigFiles(options);
  const existing = files.filter((file) => existsSync(file));
  const {KubeConfig: Config} = await import('@kubernetes/client-node');
  const config = new Config();
  if (existing.length === 0) {
    if (options.kubeconfig !== undefined || !isInCluster(options.env)) {
      throw new MirrordError(
        'MIRRORD_KUBECONFIG_NOT_FOUND',
        `there is no kubeconfig: ${files.join(', ')}`,
        {
          hint: 'set KUBECONFIG or the key kubeconfig; without a cluster: -t demo/gateway (mirrord ls)',
        },
      );
    }
    config.loadFromCluster();
    const {context, server, namespace} = current(config);
    return {config, context, server, namespace, proxy: undefined, headers: {}};
  }
  const prepared = prepare(merge(existing.map(readKubeconfig)), options);
  const {name, clusterName, cluster, userName, user, namespace, server} = prepared;
  try {
    config.loadFromString(
      JSON.stringify({
        clusters: [{name: clusterName, cluster}],
        users: [{name: userName, user}],
        contexts: [{name, context: {cluster: clusterName, user: userName, namespace}}],
        'current-context': name,
      }),
    );
  } catch (error) {
    throw invalid(`context "${name}" can't be used: ${(error as Error).message}`, error);
  }
  return {
    config,
    context: name,
    server,
    namespace,
    proxy: withoutPassword(cluster['proxy-url'] as string | undefined),
    headers: {
      ...(user['as-groups'] !== undefined && {'Impersonate-Group': user['as-groups']}),
      ...(user['as-uid'] !== undefined && {'Impersonate-Uid': user['as-uid']}),
    },
  };
}

function current(config: KubeConfig): {context: string; server: string; namespace: string} {
  const context = config.getCurrentContext();
  return {
    context,
    server: config.getCurrentCluster()?.server ?? '',
    namespace: config.getContextObject(context)?.namespace ?? 'default',
  };
}
