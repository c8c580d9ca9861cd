/**
 * Which pod of a workload, and whether it will do: it must run, not be on its way out, and its container
 * be ready.
 */

import type {V1Pod} from '@kubernetes/client-node';
import {MirrordError} from '../../../layer/errors.ts';
import {chooseContainer, containerStatus} from './containers.ts';

/** Why a pod can't be a target, in the words that `kubectl get pods` has; `undefined` if it can. */
export function whyNot(pod: V1Pod, container?: string): string | undefined {
  const {metadata, status} = pod;
  if (metadata?.deletionTimestamp !== undefined && metadata.deletionTimestamp !== null) {
    return 'Terminating';
  }
  if (status?.phase !== 'Running') return whyNotRunning(pod);
  const {name} = chooseContainer(pod, container);
  const state = containerStatus(pod, name);
  if (state?.state?.running === undefined) {
    const waiting = state?.state?.waiting?.reason ?? state?.state?.terminated?.reason;
    return `${name}: ${waiting ?? 'not started'}`;
  }
  return state.ready ? undefined : `${name}: not ready`;
}

function whyNotRunning({status}: V1Pod): string {
  const phase = status?.phase ?? 'unknown';
  const all = [...(status?.initContainerStatuses ?? []), ...(status?.containerStatuses ?? [])];
  const waiting = all.map(({state}) => state?.waiting?.reason).find((reason) => reason);
  const unscheduled = status?.conditions?.find(
    ({type, status: met}) => type === 'PodScheduled' && met === 'False',
  );
  const why = waiting ?? unscheduled?.reason ?? status?.reason;
  return why === undefined ? phase : `${phase}: ${why}`;
}

/** Labels that tell the revisions of a workload apart. */
const revisionLabels = [
  'pod-template-hash',
  'rollouts-pod-template-hash',
  'controller-revision-hash',
];

function revision({metadata}: V1Pod): string {
  const label = revisionLabels.find((name) => metadata?.labels?.[name] !== undefined);
  return label === undefined ? '' : (metadata?.labels?.[label] ?? '');
}

function createdMs({metadata}: V1Pod): number {
  // JSON as it comes has a string here, where the library's own parser makes a Date.
  return new Date(metadata?.creationTimestamp ?? 0).getTime();
}

/**
 * The order of preference among pods that all will do: of the newest revision, which a rollout leaves;
 * in it the oldest, which scaling down leaves.
 */
export function byPreference(pods: readonly V1Pod[]): V1Pod[] {
  const newest = new Map<string, number>();
  for (const pod of pods) {
    const key = revision(pod);
    newest.set(key, Math.max(newest.get(key) ?? 0, createdMs(pod)));
  }
  const age = (pod: V1Pod): number => newest.get(revision(pod)) ?? 0;
  return pods.toSorted(
    (a, b) =>
      age(b) - age(a) ||
      createdMs(a) - createdMs(b) ||
      (a.metadata?.name ?? '').localeCompare(b.metadata?.name ?? ''),
  );
}

/** So many pods that won't do are named in an error. */
const namedPods = 5;

/** Chooses a pod. `subject` is what they are pods of. Throws MIRRORD_TARGET_NOT_READY. */
export function choosePod(
  pods: readonly V1Pod[],
  subject: string,
  container?: string,
): {pod: V1Pod; ready: number} {
  const ready = pods.filter((pod) => whyNot(pod, container) === undefined);
  const [pod] = byPreference(ready);
  if (pod !== undefined) return {pod, ready: ready.length};
  const told = pods
    .slice(0, namedPods)
    .map((one) => `${one.metadata?.name} (${whyNot(one, container)})`)
    .join(', ');
  const more = pods.length > namedPods ? ` and ${pods.length - namedPods} more` : '';
  throw new MirrordError(
    'MIRRORD_TARGET_NOT_READY',
    pods.length === 0 ? `${subject} has no pods` : `${subject} has no ready pod: ${told}${more}`,
    {
      hint:
        pods.length === 0
          ? 'scale it up, or start it, and run again'
          : `see why: kubectl -n ${pods[0]?.metadata?.namespace} describe pod ${pods[0]?.metadata?.name}`,
    },
  );
}
