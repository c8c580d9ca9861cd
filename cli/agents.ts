/**
 * The agent of a target, wherever that is: a process of this machine for the embedded cluster's pods and for
 * processes, a pod or a container in a Kubernetes cluster for everything else.
 */

import type {Duplex} from 'node:stream';
import type {V1Pod} from '@kubernetes/client-node';
import {MirrordError} from '../layer/errors.ts';
import type {Log} from '../layer/log.ts';
import type {ResolvedConfig} from './config/schema/root.ts';
import {formatTarget, type Target} from './config/target.ts';
import {loadKubeClient} from './kube/client.ts';
import {hasKubeconfig} from './kube/kubeconfig.ts';
import {kubeClientOptions} from './kube/options.ts';
import {isClusterTarget, resolveKubeTarget} from './kube/target/resolve.ts';
import {volumeMounts} from './kube/target/volume-mounts.ts';
import type {ClusterTarget} from './kube/target/workloads.ts';
import {explainAgentEnd, startLocalAgent} from './local-agent.ts';
import type {Progress} from './progress.ts';
import {type LocalTarget, resolveLocalTarget} from './targets.ts';

/** An agent that was started. Disposed of, it is removed. */
export interface Agent extends AsyncDisposable {
  /** Carries the WebSocket. */
  readonly connection: Duplex;
  /** Makes another connection, where that is possible. */
  readonly reconnect?: () => Promise<Duplex>;
  /** The session token, hexadecimal. */
  readonly token: string;
  /** The agent's end, once it has come, as an error. */
  readonly ended: Promise<MirrordError>;
  /** Whether the files that it serves are the target's. */
  readonly hasFiles: boolean;
  /** Where volumes are mounted in the target, as far as that is known (not of a process of this machine). */
  readonly volumeMounts: readonly string[];
  /** The target, where it is a pod of a Kubernetes cluster. */
  readonly pod?: V1Pod;
}

/** Whom to tell, and until when. */
export interface AgentStart {
  progress: Progress;
  log?: Log;
  /** Gives the start up; what was made is removed. */
  signal?: AbortSignal;
}

/** How long the tunnel may take to say its last word, ms. */
const farewellMs = 1000;

/**
 * Resolves when a connection is over, or will not be: the tunnel in it has been closed, but what it says to the agent
 * goes out at the end of this turn. An agent that does not hear it waits for its client to come back, with what it
 * has stolen for it. False: it has hardly heard it.
 */
async function farewell(connection: Duplex): Promise<boolean> {
  if (connection.destroyed) return false;
  const {promise, resolve} = Promise.withResolvers<boolean>();
  const timer = setTimeout(resolve, farewellMs, false);
  connection.once('close', () => resolve(true));
  const isHeard = await promise;
  clearTimeout(timer);
  return isHeard;
}

async function openLocalAgent(target: LocalTarget, {progress}: AgentStart): Promise<Agent> {
  const pid = await progress.step(`finding ${formatTarget(target)}`, () =>
    resolveLocalTarget(target),
  );
  const agent = startLocalAgent(pid);
  return {
    connection: agent.connection,
    token: agent.token,
    ended: agent.ended.then((reason) => explainAgentEnd(reason, pid)),
    hasFiles: true,
    volumeMounts: [],
    async [Symbol.asyncDispose]() {
      await agent[Symbol.asyncDispose]();
    },
  };
}

/** The agent's modules and the client library are loaded for clusters only. */
async function openKubeAgent(
  target: ClusterTarget | {kind: 'targetless'},
  config: ResolvedConfig,
  {progress, log = () => undefined, signal}: AgentStart,
): Promise<Agent> {
  await using disposables = new AsyncDisposableStack();
  const client = disposables.use(await loadKubeClient(kubeClientOptions(config)));
  const options = {
    warn: progress.warn,
    ...(signal !== undefined && {signal}),
  };
  const found = await progress.step(`finding ${formatTarget(target)}`, () =>
    resolveKubeTarget(client, target, {...options, namespace: config.target.namespace}),
  );
  log('start: target found', {namespace: found.namespace, pod: found.podName});
  const {startKubeAgent} = await import('./kube/agent/start.ts');
  const agent = await progress.step('starting the agent', () =>
    startKubeAgent(client, found, config.agent, {...options, log}),
  );
  disposables.use(agent);
  let connection = await agent.connect();
  const kept = disposables.move();
  return {
    connection,
    async reconnect() {
      connection = await agent.connect();
      return connection;
    },
    token: agent.token,
    // One beside the target has only its own; that they are missing was said.
    hasFiles: agent.mode !== 'beside',
    volumeMounts: volumeMounts(found),
    ...(found.podName !== undefined && {pod: found.pod}),
    ended: agent.ended.then(
      (reason) =>
        new MirrordError('MIRRORD_AGENT_FAILED', `the agent ended before it was ready: ${reason}`, {
          hint: `see what it said: kubectl -n ${agent.namespace} logs ${agent.podName}`,
        }),
    ),
    async [Symbol.asyncDispose]() {
      if (await farewell(connection)) agent.release();
      connection.destroy();
      await kept.disposeAsync();
    },
  };
}

/** Where volumes are mounted in a target, without an agent: asks the cluster, if it is in one. Throws as `openAgent`. */
export async function findVolumeMounts(
  target: Target,
  config: ResolvedConfig,
): Promise<readonly string[]> {
  if (!isClusterTarget(target)) return [];
  using client = await loadKubeClient(kubeClientOptions(config));
  const options = {namespace: config.target.namespace};
  return volumeMounts(await resolveKubeTarget(client, target, options));
}

/**
 * Starts the agent of a target. Throws what the target's own way has to say: see `resolveLocalTarget`,
 * `loadKubeClient`, `resolveKubeTarget` and `startKubeAgent`; MIRRORD_TARGET_MISSING where there is neither a
 * target nor a cluster.
 */
export async function openAgent(
  target: Target,
  config: ResolvedConfig,
  start: AgentStart,
): Promise<Agent> {
  if (target.kind === 'demo' || target.kind === 'process') {
    return await openLocalAgent(target, start);
  }
  const isUnnamed = target.kind === 'targetless' && config.target.path === undefined;
  if (isUnnamed && !hasKubeconfig(kubeClientOptions(config))) {
    throw new MirrordError('MIRRORD_TARGET_MISSING', 'no target is given', {
      hint: 'say whose context the program is to have: -t demo/gateway, or -t deployment/NAME with a kubeconfig; see: mirrord ls',
    });
  }
  return await openKubeAgent(target, config, start);
}
