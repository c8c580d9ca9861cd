/**
 * What keeps an agent from running, in the words of who knows: from what the API server, the scheduler, the
 * Job controller and the kubelet say to an error with a code and a remedy.
 *
 * Pure. Each function looks at one object and returns undefined while nothing is wrong with it.
 */

import type {CoreV1Event, V1ContainerStatus, V1Pod} from '@kubernetes/client-node';
import {MirrordError} from '../../../layer/errors.ts';
import {KubeError} from '../errors.ts';
import type {AgentMode} from './mode.ts';

/** An agent, for what an error says about it. */
export interface AgentPlace {
  mode: AgentMode;
  namespace: string;
  /** The Job's name; an ephemeral container's. */
  name: string;
  /** The container's name. */
  container: string;
  image: string;
  nodeName: string | undefined;
}

/** Reasons of a waiting container that an image is behind. */
const imageReasons: ReadonlySet<string> = new Set([
  'ErrImagePull',
  'ImagePullBackOff',
  'InvalidImageName',
  'ErrImageNeverPull',
  'ImageInspectError',
  'RegistryUnavailable',
]);
/** Others that don't pass by themselves. */
const containerReasons: ReadonlySet<string> = new Set([
  'CreateContainerConfigError',
  'CreateContainerError',
  'RunContainerError',
  'CrashLoopBackOff',
]);

const lessCapabilities = 'agent.disabled_capabilities: ["SYS_ADMIN", "SYS_PTRACE", "NET_ADMIN"]';

/** The status of the agent's container; undefined before the kubelet has taken it up. */
export function agentStatus({status}: V1Pod, container: string): V1ContainerStatus | undefined {
  const all = [...(status?.containerStatuses ?? []), ...(status?.ephemeralContainerStatuses ?? [])];
  return all.find(({name}) => name === container);
}

/** Looks at the agent's pod before the agent runs. */
export function podFailure(pod: V1Pod, place: AgentPlace): MirrordError | undefined {
  return (
    scheduling(pod, place) ?? containerFailure(pod, place) ?? admission(pod, place) ?? undefined
  );
}

/** The scheduler's view. An agent without a target may wait for a node that is on its way. */
function scheduling({status}: V1Pod, place: AgentPlace): MirrordError | undefined {
  if (place.mode === 'targetless' || status?.nominatedNodeName) return undefined;
  const condition = status?.conditions?.find(
    ({type, status: value, reason}) =>
      type === 'PodScheduled' && value === 'False' && reason === 'Unschedulable',
  );
  if (condition === undefined) return undefined;
  const {message = 'it does not say why'} = condition;
  if (/too many pods/i.test(message)) return nodeFull(place, message);
  const where = place.mode === 'visiting' ? `node ${place.nodeName}` : 'any node';
  return new MirrordError(
    'MIRRORD_AGENT_UNSCHEDULABLE',
    `the agent's pod can't be scheduled on ${where}: ${message}`,
    {
      hint: /taint/.test(message)
        ? 'agent.tolerations must fit the taints of the node; the default tolerates all'
        : 'agent.resources, agent.priority_class; agent.ephemeral needs no pod of its own',
    },
  );
}

function nodeFull({nodeName}: AgentPlace, why: string): MirrordError {
  return new MirrordError(
    'MIRRORD_NODE_FULL',
    `node ${nodeName ?? '(any)'} has no room for the agent's pod: ${why}`,
    {hint: "agent.ephemeral runs the agent in the target's pod instead"},
  );
}

/** The kubelet's view of the container. */
function containerFailure(pod: V1Pod, place: AgentPlace): MirrordError | undefined {
  const status = agentStatus(pod, place.container);
  const {reason = '', message} = status?.state?.waiting ?? {};
  if (imageReasons.has(reason)) {
    return new MirrordError(
      'MIRRORD_AGENT_IMAGE_FAILED',
      `node ${pod.spec?.nodeName} can't get the agent's image ${place.image}: ${message ?? reason}`,
      {
        hint: `agent.image, agent.image_pull_secrets and agent.image_pull_policy say what is pulled and how; see: kubectl -n ${place.namespace} describe pod ${pod.metadata?.name}`,
      },
    );
  }
  if (containerReasons.has(reason)) {
    return new MirrordError(
      'MIRRORD_AGENT_CONTAINER_FAILED',
      `the agent's container can't be started (${reason}): ${message ?? 'no more is known'}`,
      {hint: `kubectl -n ${place.namespace} describe pod ${pod.metadata?.name}`},
    );
  }
  return undefined;
}

/** The kubelet's view of the pod: it may refuse one that the scheduler sent. */
function admission(pod: V1Pod, place: AgentPlace): MirrordError | undefined {
  const {phase, reason, message = ''} = pod.status ?? {};
  if (place.mode === 'ephemeral' || phase !== 'Failed' || reason === undefined) return undefined;
  if (/^OutOf/i.test(reason)) return nodeFull(place, `${reason}: ${message}`);
  return new MirrordError(
    'MIRRORD_AGENT_CONTAINER_FAILED',
    `node ${pod.spec?.nodeName} does not run the agent's pod (${reason}): ${message}`,
    {hint: `kubectl -n ${place.namespace} describe pod ${pod.metadata?.name}`},
  );
}

/** Looks at an event of the Job: it is only there that its controller says why it can't make a pod. */
export function jobFailure(
  {reason, message = ''}: CoreV1Event,
  place: AgentPlace,
): MirrordError | undefined {
  return reason === 'FailedCreate' ? refusal(message, place) : undefined;
}

/** The error for an object of the agent's that the cluster doesn't admit; others are what they were. */
export function creationFailure(error: unknown, place: AgentPlace): unknown {
  if (!(error instanceof KubeError) || error.status !== 403) return error;
  const isAdmission = /exceeded quota|violates PodSecurity|failed quota/.test(error.answer);
  return isAdmission ? refusal(error.answer, place, error) : error;
}

function refusal(message: string, place: AgentPlace, cause?: unknown): MirrordError {
  const what = place.mode === 'ephemeral' ? "the agent's container" : "the agent's pod";
  const details = cause === undefined ? {} : {cause};
  if (/exceeded quota|failed quota/.test(message)) {
    return new MirrordError(
      'MIRRORD_AGENT_QUOTA',
      `namespace ${place.namespace} has no quota left for ${what}: ${message}`,
      {
        hint: 'agent.resources, or agent.namespace for another namespace; agent.ephemeral needs no pod of its own',
        ...details,
      },
    );
  }
  const level = /violates PodSecurity "([a-z]+)/.exec(message)?.[1];
  if (level !== undefined) {
    return new MirrordError(
      'MIRRORD_POD_SECURITY',
      `Pod Security level "${level}" of namespace ${place.namespace} forbids ${what}: ${message}`,
      {
        hint: `what passes: ${lessCapabilities}, best with agent.ephemeral: true; or agent.namespace names a namespace that allows more`,
        ...details,
      },
    );
  }
  return new MirrordError(
    'MIRRORD_AGENT_REFUSED',
    `the cluster refuses ${what} in namespace ${place.namespace}: ${message}`,
    {hint: `kubectl -n ${place.namespace} describe job ${place.name}`, ...details},
  );
}

/** Why the agent's container is over, once it is; undefined while it isn't. */
export function containerEnd(pod: V1Pod, container: string): string | undefined {
  const {terminated} = agentStatus(pod, container)?.state ?? {};
  if (terminated === undefined) return undefined;
  const {exitCode, signal, reason, message} = terminated;
  const how = signal ? `signal ${signal}` : `status ${exitCode}`;
  const why =
    reason === undefined || reason === 'Error' || reason === 'Completed' ? '' : `, ${reason}`;
  const words = message?.trim();
  return `${how}${why}${words ? `: ${words}` : ''}`;
}

/** The error for an agent that ended before it was ready. `words`: the end of its log. */
export function earlyEnd(end: string, words: string, place: AgentPlace): MirrordError {
  const told = words === '' ? end : `${end.split(':', 1)[0]}: ${words}`;
  return new MirrordError('MIRRORD_AGENT_FAILED', `the agent ended before it was ready: ${told}`, {
    hint: /Operation not permitted|Permission denied/.test(told)
      ? 'the node forbids what the agent needs: agent.privileged, agent.security_context, or agent.ephemeral'
      : `agent.log_level: debug shows what it does; its namespace is ${place.namespace}`,
  });
}

/** Where a start stands, for who waits. */
export function describeProgress(pod: V1Pod | undefined, container: string): string {
  if (pod === undefined) return 'its pod does not exist yet';
  const {waiting, running} = agentStatus(pod, container)?.state ?? {};
  if (running) return 'it runs, but does not answer';
  if (waiting)
    return `its container waits: ${waiting.message ?? waiting.reason ?? 'no reason given'}`;
  const condition = pod.status?.conditions?.find(
    ({type, status}) => type === 'PodScheduled' && status === 'False',
  );
  return condition?.message ?? `its pod is ${pod.status?.phase ?? 'new'}`;
}
