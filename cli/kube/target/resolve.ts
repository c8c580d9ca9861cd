/**
 * From a target to a pod and a container of the cluster.
 */

import type {V1Pod} from '@kubernetes/client-node';
import {MirrordError} from '../../../layer/errors.ts';
import {formatTarget, type Target} from '../../config/target.ts';
import type {KubeClient} from '../client.ts';
import {chooseContainer, containerStatus} from './containers.ts';
import {choosePod, whyNot} from './pods.ts';
import {type ClusterTarget, PodFinder} from './workloads.ts';

/** A container of a pod, found. */
export interface KubePodTarget {
  namespace: string;
  podName: string;
  podUid: string;
  nodeName: string;
  /** The pod's addresses, of each family that it has. */
  podIps: string[];
  /** The node's addresses. */
  hostIps: string[];
  containerName: string;
  /** Without its scheme. */
  containerId: string;
  /** The scheme: containerd, docker, cri-o, … */
  runtime: string;
  pod: V1Pod;
  /** What the pod was chosen for; not there for a pod that was named itself. */
  workload?: {kind: string; name: string};
}

/** Where an agent without a target is. */
export interface KubeTargetless {
  namespace: string;
  podName?: undefined;
}

/** Whose context a session on a cluster has. */
export type KubeTarget = KubePodTarget | KubeTargetless;

/** What a choice needs. */
export interface ResolveOptions {
  /** By default the context's. */
  namespace?: string | undefined;
  /** Told what was chosen for the person, who may have meant something else. */
  warn?: (message: string) => void;
  signal?: AbortSignal;
}

/**
 * Finds the pod and its container. Throws KubeError, MIRRORD_TARGET_NOT_FOUND, MIRRORD_TARGET_NOT_READY,
 * MIRRORD_CONTAINER_NOT_FOUND.
 */
export async function resolveKubeTarget(
  client: KubeClient,
  target: ClusterTarget | {kind: 'targetless'},
  {namespace = client.namespace, warn = () => undefined, signal}: ResolveOptions = {},
): Promise<KubeTarget> {
  if (target.kind === 'targetless') return {namespace};
  const pods = await new PodFinder(client, namespace, signal).find(target);
  const {pod, ready} = choose(pods, target, warn);
  const workload = workloadOf(target);
  if (ready > 1) {
    warn(
      `${formatTarget(target)} has ${ready} ready pods, of which the program gets the context of one: ${pod.metadata?.name}`,
    );
  }
  return {...describePod(pod, target, warn), namespace, ...(workload !== undefined && {workload})};
}

function workloadOf(target: ClusterTarget): {kind: string; name: string} | undefined {
  if (target.kind === 'pod') return undefined;
  if (target.kind !== 'label') return {kind: target.kind, name: target.name};
  return {kind: 'label', name: formatTarget(target)};
}

/** A pod that was named itself may be one that is not ready: to find out why, perhaps. */
function choose(
  pods: readonly V1Pod[],
  target: ClusterTarget,
  warn: (message: string) => void,
): {pod: V1Pod; ready: number} {
  const [named] = pods;
  if (target.kind === 'pod' && named !== undefined) {
    const why = whyNot(named, target.container);
    if (why?.endsWith('not ready')) {
      warn(`pod ${target.name} is not ready (${why})`);
      return {pod: named, ready: 1};
    }
  }
  return choosePod(pods, formatTarget(target), target.container);
}

function describePod(
  pod: V1Pod,
  target: ClusterTarget,
  warn: (message: string) => void,
): Omit<KubePodTarget, 'namespace' | 'workload'> {
  const {name: containerName, isGuess} = chooseContainer(pod, target.container);
  const podName = pod.metadata?.name ?? '';
  if (isGuess) {
    warn(
      `pod ${podName} has several containers; the program gets the context of ${containerName} (another: ${target.kind}/…/container/NAME)`,
    );
  }
  const {containerID} = containerStatus(pod, containerName) ?? {};
  const [, runtime, containerId] = /^([\w.-]+):\/\/(.+)$/.exec(containerID ?? '') ?? [];
  if (runtime === undefined || containerId === undefined) {
    throw new MirrordError(
      'MIRRORD_TARGET_NOT_READY',
      `container ${containerName} of pod ${podName} has no ID yet`,
      {hint: 'it is being started: run again'},
    );
  }
  const {podIPs, podIP, hostIPs, hostIP} = pod.status ?? {};
  return {
    podName,
    podUid: pod.metadata?.uid ?? '',
    nodeName: pod.spec?.nodeName ?? '',
    podIps: (podIPs ?? (podIP === undefined ? [] : [{ip: podIP}])).map(({ip}) => ip),
    hostIps: (hostIPs ?? (hostIP === undefined ? [] : [{ip: hostIP}])).map(({ip}) => ip),
    containerName,
    containerId,
    runtime,
    pod,
  };
}

/** Whether a target is something in a Kubernetes cluster, or a place there. */
export function isClusterTarget(target: Target): target is ClusterTarget {
  return !['targetless', 'demo', 'process'].includes(target.kind);
}
