/**
 * What of a namespace can be a target, and whether a program could have its context now: for `mirrord ls`.
 */

import type {V1Pod} from '@kubernetes/client-node';
import type {KubeClient} from '../client.ts';
import {hasStatus} from '../errors.ts';
import {type ApiResource, apiPath, resources} from '../path.ts';
import {applicationContainers} from '../target/containers.ts';
import {listRows, type Row} from './table.ts';

/** The kinds that can be listed, in mirrord's order. */
export const listedKinds = [
  'deployment',
  'rollout',
  'statefulset',
  'daemonset',
  'cronjob',
  'job',
  'service',
  'replicaset',
  'pod',
] as const;

/** A kind that can be listed. */
export type ListedKind = (typeof listedKinds)[number];

/** One target; `available` when a program could be run in its context right now. */
export interface ListedTarget {
  path: string;
  available: boolean;
}

/** Pods whose containers are asked for one by one; beyond, all pods of the namespace are read. */
const singlePods = 20;

/** Our own agents are nobody's targets; nor are mirrord's. */
const labelSelector = 'app!=mirrord';

const resourceOf: Readonly<Record<ListedKind, ApiResource>> = {
  deployment: resources.deployments,
  rollout: resources.rollouts,
  statefulset: resources.statefulsets,
  daemonset: resources.daemonsets,
  cronjob: resources.cronjobs,
  job: resources.jobs,
  service: resources.services,
  replicaset: resources.replicasets,
  pod: resources.pods,
};

/** The first number of a cell: of `2/3`, 2; 0 where there is none. */
function count(cell: string | undefined): number {
  return Number.parseInt(cell ?? '', 10) || 0;
}

/** Whether a row of `kubectl get` is of something that has a ready pod. */
export function isAvailable(kind: ListedKind, row: Row): boolean {
  switch (kind) {
    case 'deployment':
    case 'statefulset':
    case 'daemonset':
    case 'replicaset':
      return count(row['ready']) > 0;
    case 'rollout':
      return count(row['available']) > 0;
    case 'cronjob':
      return count(row['active']) > 0;
    case 'job':
      return row['status'] === 'Running';
    case 'service':
      // Its endpoints would be another list as long as that of the pods.
      return row['type'] !== 'ExternalName' && !['', '<none>', undefined].includes(row['selector']);
    case 'pod': {
      const [, ready, all] = /^(\d+)\/(\d+)$/.exec(row['ready'] ?? '') ?? [];
      return row['status'] === 'Running' && ready === all;
    }
  }
}

/** mirrord's paths of a pod: with a container where it has several that aren't sidecars. */
export function podPaths(name: string, containers: readonly string[]): string[] {
  if (containers.length < 2) return [`pod/${name}`];
  return containers.map((container) => `pod/${name}/container/${container}`);
}

/** Lists targets of one namespace. */
class TargetLister {
  readonly #client: KubeClient;
  readonly #namespace: string;
  readonly #signal: AbortSignal;

  constructor(client: KubeClient, namespace: string, signal: AbortSignal) {
    this.#client = client;
    this.#namespace = namespace;
    this.#signal = signal;
  }

  async list(kind: ListedKind): Promise<ListedTarget[]> {
    const rows = await this.#rows(kind);
    if (kind === 'pod') return await this.#pods(rows);
    return rows.map((row) => ({
      path: `${kind}/${row['name']}`,
      available: isAvailable(kind, row),
    }));
  }

  async #rows(kind: ListedKind): Promise<Row[]> {
    const path = apiPath(resourceOf[kind], {namespace: this.#namespace});
    try {
      return await listRows(this.#client, path, {labelSelector}, this.#signal);
    } catch (error) {
      // Argo may not be installed.
      if (hasStatus(error, 404)) return [];
      throw error;
    }
  }

  async #pods(rows: readonly Row[]): Promise<ListedTarget[]> {
    const several = rows.filter(({ready}) => !/\/1$/.test(ready ?? '')).map(({name = ''}) => name);
    const containers = await this.#containers(several);
    return rows.flatMap((row) => {
      const name = row['name'] ?? '';
      const available = isAvailable('pod', row);
      return podPaths(name, containers.get(name) ?? []).map((path) => ({path, available}));
    });
  }

  /** The application's containers of pods, which a row doesn't name. */
  async #containers(names: readonly string[]): Promise<Map<string, string[]>> {
    const path = apiPath(resources.pods, {namespace: this.#namespace});
    const pods =
      names.length > singlePods
        ? await this.#client.list<V1Pod>(path, {labelSelector}, this.#signal)
        : await Promise.all(names.map((name) => this.#pod(`${path}/${name}`)));
    return new Map(
      pods.flatMap((pod) =>
        pod === undefined ? [] : [[pod.metadata?.name ?? '', applicationContainers(pod)]],
      ),
    );
  }

  /** A pod that was there a moment ago. */
  async #pod(path: string): Promise<V1Pod | undefined> {
    try {
      return await this.#client.get<V1Pod>(path, this.#signal);
    } catch (error) {
      if (hasStatus(error, 404)) return undefined;
      throw error;
    }
  }
}

/**
 * Lists the targets of a namespace, kind after kind in mirrord's order. Kinds that the person may not list
 * are left out, unless that is all of them: then throws the KubeError, as for every other failure.
 */
export async function listKubeTargets(
  client: KubeClient,
  {namespace, kinds, signal}: {namespace: string; kinds: readonly string[]; signal: AbortSignal},
): Promise<ListedTarget[]> {
  const lister = new TargetLister(client, namespace, signal);
  const wanted = listedKinds.filter((kind) => kinds.includes(kind));
  const lists = await Promise.allSettled(wanted.map((kind) => lister.list(kind)));
  const failures = lists.flatMap((list) => (list.status === 'rejected' ? [list.reason] : []));
  const grave = failures.find((error) => !hasStatus(error, 403)) ?? failures[0];
  const isGrave = failures.length === lists.length || !hasStatus(grave, 403);
  if (grave !== undefined && isGrave) throw grave;
  return lists.flatMap((list) => (list.status === 'fulfilled' ? list.value : []));
}

/** The names of all namespaces; of the given one alone where the person may not list them. */
export async function listNamespaces(
  client: KubeClient,
  namespace: string,
  signal: AbortSignal,
): Promise<string[]> {
  try {
    const rows = await listRows(client, apiPath(resources.namespaces), {}, signal);
    return rows.map(({name = ''}) => name);
  } catch (error) {
    if (hasStatus(error, 403)) return [namespace];
    throw error;
  }
}
