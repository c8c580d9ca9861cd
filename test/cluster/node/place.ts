/**
 * Where a test cluster is on this machine: everything has its name. MIRRORD_TEST_CLUSTER names another one,
 * which can run besides.
 */

import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import {processesOf} from './cgroups.ts';
import {ClusterError} from './process.ts';

/** What `up` leaves to know of a cluster that is complete. */
export interface ClusterInfo {
  /** The API server, as `https://127.0.0.1:<port>`. */
  server: string;
  /** As `v1.36.2`. */
  kubernetes: string;
  startedAt: string;
}

/** The cluster's name, which is also that of its control group. */
export function clusterName(): string {
  const name = process.env['MIRRORD_TEST_CLUSTER'] || 'mirrord-test-cluster';
  // `down` removes what has the name: it must be nobody else's.
  if (!/^mirrord-test-[a-z0-9-]{1,30}$/.test(name)) {
    throw new ClusterError(`MIRRORD_TEST_CLUSTER must be "mirrord-test-…", not ${name}`);
  }
  return name;
}

/** A path in the cluster's directory, which only root can enter. */
export function inCluster(...parts: readonly string[]): string {
  return join('/var/lib', clusterName(), ...parts);
}

/** The administrator's. */
export const kubeconfigPath = (): string => inCluster('kubeconfig');

/** Where users who aren't root have theirs. */
export const personalDirectory = (): string => join('/run', clusterName());

/** A copy of it for the user with this number. */
export const personalKubeconfigPath = (uid: number): string =>
  join(personalDirectory(), `kubeconfig-${uid}`);

/** Describes the cluster if `up` has come to its end. */
export function clusterInfo(): ClusterInfo | undefined {
  try {
    return JSON.parse(readFileSync(inCluster('cluster.json'), 'utf8')) as ClusterInfo;
  } catch {
    return undefined;
  }
}

/** The number of the node's process 1 on the machine, if it runs. */
export function nodePid(): number | undefined {
  let text: string;
  try {
    text = readFileSync(inCluster('node.pid'), 'latin1');
  } catch {
    return undefined;
  }
  const pid = Number(text);
  return processesOf(clusterName()).includes(pid) ? pid : undefined;
}

/** The command line that runs a program in the node. Throws `ClusterError` if there is none. */
export function inNode(argv: readonly string[]): [file: string, args: string[]] {
  const pid = nodePid();
  if (pid === undefined) throw new ClusterError('no cluster runs: scripts/cluster up');
  const path = '/cluster/bin:/usr/sbin:/usr/bin:/sbin:/bin';
  const namespaces = ['--mount', '--net', '--pid', '--uts', '--ipc', '--root', '--wd'];
  const clean = [
    'env',
    '-i',
    `PATH=${path}`,
    'HOME=/root',
    `TERM=${process.env['TERM'] ?? 'dumb'}`,
  ];
  return ['nsenter', [`--target=${pid}`, ...namespaces, '--', ...clean, ...argv]];
}
