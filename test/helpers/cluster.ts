/**
 * The test cluster (`scripts/cluster`) for the tests of a file. All files use the same one: whoever comes
 * first brings it up, and it stays until `scripts/test` has come to its end, or until `scripts/cluster down`.
 * What a test makes in it should have a name of its own, and go with the test.
 */

import {type ChildProcess, spawn, spawnSync} from 'node:child_process';
import {chmodSync, chownSync, copyFileSync} from 'node:fs';
import {fileURLToPath} from 'node:url';
import type {TestFn} from 'ava';
import {hasGo, isBuilt} from '../cluster/node/build.ts';
import {output, run} from '../cluster/node/process.ts';
import type {ClusterStatus} from '../cluster/node/status.ts';
import {needing, root} from './needs.ts';

const script = fileURLToPath(new URL('../../scripts/cluster', import.meta.url));
const demo = fileURLToPath(new URL('../cluster/manifests/demo.yaml', import.meta.url));
/** Building takes minutes; milliseconds. */
const upLimitMs = 30 * 60_000;

/** The cluster, once the tests of the file run. */
export class TestCluster {
  readonly #environment: NodeJS.ProcessEnv;

  /** The cluster named so (MIRRORD_TEST_CLUSTER), or that of all. */
  constructor(name = process.env['MIRRORD_TEST_CLUSTER'] ?? '') {
    this.#environment = {...process.env, MIRRORD_TEST_CLUSTER: name};
  }

  /** Runs `scripts/cluster` and returns its output. Throws an error with what it said unless its status is 0. */
  async command(args: readonly string[], input?: string): Promise<string> {
    const env = this.#environment;
    return await output(script, args, {env, ...(input === undefined ? {} : {input})});
  }

  /** Tells what of the cluster runs. */
  status(): ClusterStatus {
    // Its exit status is 0 only if the cluster is ready.
    const {stdout} = spawnSync(script, ['status', '-o', 'json'], {env: this.#environment});
    return JSON.parse(String(stdout)) as ClusterStatus;
  }

  /** Starts `scripts/cluster`, as the leader of a process group. */
  start(args: readonly string[]): ChildProcess {
    return spawn(script, args, {env: this.#environment, detached: true});
  }

  /** Brings it up, telling on standard error how far it is. */
  async up(): Promise<void> {
    await run(script, ['up'], {env: this.#environment});
  }

  /** Runs kubectl as the cluster's administrator and returns its output. Throws unless its status is 0. */
  async kubectl(args: readonly string[], input?: string): Promise<string> {
    return await this.command(['kubectl', ...args], input);
  }

  /** Gets a resource, or a list of them, as the API server has it. */
  // biome-ignore lint/suspicious/noExplicitAny: the tests know what they have made
  async get(...args: readonly string[]): Promise<any> {
    return JSON.parse(await this.kubectl(['get', ...args, '-o', 'json']));
  }

  /** Makes what a manifest says; YAML or JSON. */
  async apply(manifest: string | object): Promise<void> {
    const text = typeof manifest === 'string' ? manifest : JSON.stringify(manifest);
    await this.kubectl(['apply', '-f', '-'], text);
  }

  /** Gives the cluster the image of a file that `writeImage` (scripts/lib/oci-image.ts) made. */
  async loadImage(file: string): Promise<void> {
    await this.command(['load-image', file]);
  }

  /** Makes the pods of `test/cluster/manifests/demo.yaml`, and waits until they are ready. */
  async useDemo(): Promise<void> {
    await this.kubectl(['apply', '-f', demo]);
    const limit = '--timeout=120s';
    for (const name of ['deployment/gateway', 'deployment/orders', 'statefulset/redis']) {
      await this.kubectl(['-n', 'demo', 'rollout', 'status', name, limit]);
    }
    await this.kubectl([
      '-n',
      'demo',
      'wait',
      '--for=condition=Ready',
      'pod/ledger',
      'pod/v6',
      limit,
    ]);
  }

  /** The administrator's kubeconfig, which only root can read. */
  async kubeconfig(): Promise<string> {
    return (await this.command(['up'])).trim();
  }

  /** Copies the administrator's kubeconfig to a file of this user's. */
  async giveKubeconfig(path: string, uid: number, gid: number): Promise<void> {
    copyFileSync(await this.kubeconfig(), path);
    chmodSync(path, 0o600);
    chownSync(path, uid, gid);
  }
}

/** What tests that need the test cluster use instead of ava's `test`. */
export function clusterTest(test: TestFn): TestFn {
  const canBuild = isBuilt() || hasGo();
  return needing(test, root(), canBuild ? undefined : 'Go (1.21), which builds the test cluster');
}

/** Brings the cluster up before the tests of a file, with the pods of the demo if `demo` says so. */
export function useCluster(test: TestFn, {demo = true} = {}): TestCluster {
  const cluster = new TestCluster();
  test.serial.before('the test cluster is up', async (t) => {
    t.timeout(upLimitMs);
    await cluster.command(['up']);
    if (demo) await cluster.useDemo();
  });
  return cluster;
}
