/**
 * Which container of a pod, by mirrord's rules: the one that is named; else the one that the pod's
 * annotation names; else the first that is no known sidecar, which is a guess.
 */

import type {V1Container, V1ContainerStatus, V1Pod} from '@kubernetes/client-node';
import {MirrordError} from '../../../layer/errors.ts';

/** Containers that serve the pod's application rather than being it: mirrord's list. */
const sidecars: ReadonlySet<string> = new Set([
  'istio-init',
  'istio-proxy',
  'kuma-init',
  'kuma-sidecar',
  'linkerd-init',
  'linkerd-proxy',
  'queue-proxy',
  'traffic-agent',
  'vault-agent',
  'vault-agent-init',
]);

/** The annotation that `kubectl exec` and `kubectl logs` heed. */
const defaultContainer = 'kubectl.kubernetes.io/default-container';

/** A container that was chosen. */
export interface ContainerChoice {
  name: string;
  /** Whether others might have been meant as well. */
  isGuess: boolean;
}

/** Containers that run as long as the pod: those of `containers`, and init containers that never end. */
export function lastingContainers({spec}: V1Pod): V1Container[] {
  const lasting = spec?.initContainers?.filter(({restartPolicy}) => restartPolicy === 'Always');
  return [...(spec?.containers ?? []), ...(lasting ?? [])];
}

/** The names of the containers that are a pod's application, as far as names can tell. */
export function applicationContainers(pod: V1Pod): string[] {
  const names = (pod.spec?.containers ?? []).map(({name}) => name);
  return names.filter((name) => !sidecars.has(name));
}

/** The TCP ports that a pod's application declares, ascending. */
export function declaredPorts(pod: V1Pod): number[] {
  const names = applicationContainers(pod);
  const containers = (pod.spec?.containers ?? []).filter(({name}) => names.includes(name));
  const ports = containers.flatMap((container) => container.ports ?? []);
  const ofTcp = ports.filter(({protocol = 'TCP'}) => protocol === 'TCP');
  return [...new Set(ofTcp.map(({containerPort}) => containerPort))].sort((a, b) => a - b);
}

/** What is known about a container that runs, or ran. */
export function containerStatus({status}: V1Pod, name: string): V1ContainerStatus | undefined {
  const all = [...(status?.containerStatuses ?? []), ...(status?.initContainerStatuses ?? [])];
  return all.find((one) => one.name === name);
}

/** Chooses. Throws MIRRORD_CONTAINER_NOT_FOUND. */
export function chooseContainer(pod: V1Pod, wanted?: string): ContainerChoice {
  const all = lastingContainers(pod).map(({name}) => name);
  if (wanted !== undefined) {
    if (all.includes(wanted)) return {name: wanted, isGuess: false};
    throw new MirrordError(
      'MIRRORD_CONTAINER_NOT_FOUND',
      `pod ${pod.metadata?.name} has no container ${wanted}`,
      {hint: `its containers: ${all.join(', ')}`},
    );
  }
  const annotated = pod.metadata?.annotations?.[defaultContainer];
  if (annotated !== undefined && all.includes(annotated)) return {name: annotated, isGuess: false};
  const candidates = applicationContainers(pod);
  // A pod of nothing but sidecars: then one of these is meant.
  const name = candidates[0] ?? all[0] ?? '';
  return {name, isGuess: candidates.length > 1};
}
