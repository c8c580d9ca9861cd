/**
 * Tells what of the cluster runs.
 */

import {readFileSync} from 'node:fs';
import {memoryOf, processesOf} from './cgroups.ts';
import {type ClusterInfo, clusterInfo, clusterName, kubeconfigPath, nodePid} from './place.ts';
import {isReady} from './up.ts';

export interface ComponentStatus {
  name: string;
  pid: number;
  /** Of its memory, what is in RAM, bytes. */
  rssBytes: number;
}

export interface ClusterStatus extends Partial<ClusterInfo> {
  name: string;
  /** `partial`: something of it is there, and `scripts/cluster down` removes it. */
  state: 'ready' | 'not ready' | 'partial' | 'none';
  kubeconfig?: string;
  components: ComponentStatus[];
  /** Processes of the node, the pods' included. */
  processes: number;
  memory?: {rssBytes: number; totalBytes: number};
}

const components = new Set([
  ...['etcd', 'containerd', 'kube-apiserver', 'kube-controller-manager', 'kube-scheduler'],
  ...['kubelet', 'kube-proxy', 'coredns'],
]);

function componentOf(pid: number): ComponentStatus | undefined {
  try {
    const [path = ''] = readFileSync(`/proc/${pid}/cmdline`, 'latin1').split('\0');
    const name = path.slice(path.lastIndexOf('/') + 1);
    const rss = /^VmRSS:\s*(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1];
    return components.has(name) ? {name, pid, rssBytes: Number(rss) * 1024} : undefined;
  } catch {
    return undefined; // it has ended meanwhile
  }
}

/** Describes the cluster. */
export async function status(): Promise<ClusterStatus> {
  const name = clusterName();
  const pids = processesOf(name);
  const found = pids.flatMap((pid) => componentOf(pid) ?? []);
  const memory = memoryOf(name);
  const common = {name, components: found, processes: pids.length, ...(memory ? {memory} : {})};
  const info = clusterInfo();
  if (info === undefined || nodePid() === undefined) {
    return {...common, state: info || memory ? 'partial' : 'none'};
  }
  const state = (await isReady(info.server)) ? 'ready' : 'not ready';
  return {...common, ...info, state, kubeconfig: kubeconfigPath()};
}

const mebibytes = (bytes: number): string => `${Math.round(bytes / 1024 ** 2)} MiB`;

/** The status for a person. */
export function describeStatus(status: ClusterStatus): string {
  const {name, state, memory} = status;
  const lines = [`${name}: ${state}`];
  if (status.server) {
    lines.push(`  Kubernetes ${status.kubernetes} at ${status.server}, since ${status.startedAt}`);
    lines.push(`  kubeconfig ${status.kubeconfig}`);
  }
  for (const {name, pid, rssBytes} of status.components) {
    lines.push(
      `  ${name.padEnd(24)} ${String(pid).padStart(7)} ${mebibytes(rssBytes).padStart(9)}`,
    );
  }
  if (memory)
    lines.push(`  ${status.processes} processes, ${mebibytes(memory.rssBytes)} of memory`);
  return `${lines.join('\n')}\n`;
}
