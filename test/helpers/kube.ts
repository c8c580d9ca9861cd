/**
 * A namespace of its own for the tests of a file, users with rights there, and programs on pods that need do
 * nothing.
 */

import {randomBytes} from 'node:crypto';
import type {TestFn} from 'ava';
import {stringify} from 'yaml';
import {type KubeClient, type KubeClientOptions, loadKubeClient} from '../../cli/kube/client.ts';
import type {TestCluster} from './cluster.ts';

/** A pod that sleeps; `more` is laid over its container. */
export function idlePod(more: object = {}): object {
  return {
    terminationGracePeriodSeconds: 0,
    containers: [
      {name: 'app', image: 'mirrord.test/workload:1', command: ['sleep', 'infinity'], ...more},
    ],
  };
}

/** A namespace that the tests of a file have for themselves; it is deleted after them. */
export class TestNamespace {
  readonly name: string;
  readonly cluster: TestCluster;

  constructor(cluster: TestCluster, prefix: string) {
    this.name = `${prefix}-${randomBytes(3).toString('hex')}`;
    this.cluster = cluster;
  }

  /** Makes objects in it. */
  async apply(...objects: object[]): Promise<void> {
    await this.cluster.kubectl(
      ['-n', this.name, 'apply', '-f', '-'],
      objects.map((object) => stringify(object)).join('---\n'),
    );
  }

  /** Runs kubectl in it. */
  async kubectl(...args: string[]): Promise<string> {
    return await this.cluster.kubectl(['-n', this.name, ...args]);
  }

  /** A client with the rights of the cluster's administrator. */
  async client(options: KubeClientOptions = {}): Promise<KubeClient> {
    return await loadKubeClient({kubeconfig: await this.cluster.kubeconfig(), env: {}, ...options});
  }

  /** A kubeconfig, as an object, of a service account made for it; it has no rights yet. */
  async userConfig(account: string): Promise<KubeconfigFile> {
    await this.apply({apiVersion: 'v1', kind: 'ServiceAccount', metadata: {name: account}});
    const token = (await this.kubectl('create', 'token', account)).trim();
    const raw = await this.cluster.kubectl(['config', 'view', '--raw', '--minify', '-o', 'json']);
    const {clusters} = JSON.parse(raw) as {clusters: KubeconfigFile['clusters']};
    const [cluster] = clusters;
    return {
      apiVersion: 'v1',
      kind: 'Config',
      clusters,
      users: [{name: account, user: {token}}],
      contexts: [
        {
          name: 'test',
          context: {cluster: cluster?.name ?? '', user: account, namespace: this.name},
        },
      ],
      'current-context': 'test',
    };
  }
}

/** A kubeconfig. */
export interface KubeconfigFile {
  apiVersion: 'v1';
  kind: 'Config';
  clusters: {name: string; cluster: Record<string, unknown>}[];
  users: {name: string; user: Record<string, unknown>}[];
  contexts: {name: string; context: {cluster: string; user: string; namespace?: string}}[];
  'current-context': string;
}

/** Gives the tests of a file a namespace. */
export function useNamespace(test: TestFn, cluster: TestCluster, prefix: string): TestNamespace {
  const namespace = new TestNamespace(cluster, prefix);
  test.serial.before('the namespace is there', async () => {
    await cluster.kubectl(['create', 'namespace', namespace.name]);
    // Every pod waits for it.
    await namespace.kubectl('wait', '--for=create', 'serviceaccount/default', '--timeout=30s');
  });
  test.serial.after.always('the namespace is gone', async () => {
    await cluster.kubectl([
      'delete',
      'namespace',
      namespace.name,
      '--ignore-not-found',
      '--wait=false',
    ]);
  });
  return namespace;
}
