/**
 * The objects of an agent: a Job of one pod, or an ephemeral container of the target's pod.
 *
 * Pure: from a target and the `agent` block of the configuration to what is sent to the API server. The
 * session's token is not in it, only its SHA-256: whoever may read pods may read this.
 */

import type {V1Container, V1EphemeralContainer, V1Job, V1PodSpec} from '@kubernetes/client-node';
import {MirrordError} from '../../../layer/errors.ts';
import type {KubePodTarget, KubeTarget} from '../target/resolve.ts';
import {copyEnvironment} from './environment.ts';
import {type AgentConfig, type AgentMode, securityContext} from './mode.ts';

/** What an agent is made of. */
export interface AgentPlan {
  mode: AgentMode;
  target: KubeTarget;
  config: AgentConfig;
  /** `mirrord-agent-…`, of the Job, or of the ephemeral container. */
  name: string;
  namespace: string;
  port: number;
  /** Of the token, hexadecimal. */
  tokenSha256: string;
  image: string;
  /** Whether the target's node is one that the scheduler knows. */
  mayPin: boolean;
}

/** The name of the container in the pod of a Job. */
export const agentContainer = 'mirrord-agent';

/** A client without a session, or whose session has not been resumed, may come so long, seconds. */
const idleTtlSeconds = 15;
/** The agent needs a third of a second to take leave, or 3 s where others of the pod take over. */
const leaveSeconds = 5;
/** What a pod has to end where it says nothing (Kubernetes API: terminationGracePeriodSeconds). */
const usualGraceSeconds = 30;

/** Keeps service meshes from adding a sidecar, each in its own way. */
const noMesh = {
  annotations: {'sidecar.istio.io/inject': 'false', 'linkerd.io/inject': 'disabled'},
  labels: {'sidecar.istio.io/inject': 'false', 'kuma.io/sidecar-injection': 'disabled'},
};

/** What Node needs, and what it may need at most, however much goes through it. */
const defaultResources = {
  requests: {cpu: '10m', memory: '32Mi'},
  limits: {cpu: '1', memory: '256Mi'},
};

/** Where an agent's objects are: an ephemeral container is the target's, a targetless one is where it was asked for. */
export function agentNamespace(mode: AgentMode, target: KubeTarget, config: AgentConfig): string {
  if (mode === 'ephemeral' || mode === 'targetless') return target.namespace;
  return config.namespace ?? target.namespace;
}

/** The image of the agent. Throws MIRRORD_AGENT_IMAGE_MISSING. */
export function agentImage({image}: AgentConfig, version: string): string {
  if (typeof image === 'string') return image;
  if (image?.registry !== undefined) return `${image.registry}:${image.tag ?? version}`;
  throw new MirrordError('MIRRORD_AGENT_IMAGE_MISSING', "the agent's image is not named", {
    hint: 'none is published yet: build agent/Dockerfile, push it to where your nodes pull from, and name it by agent.image or MIRRORD_AGENT_IMAGE (docs/agent.md)',
  });
}

/** From what `agent.log_level` may be (env_logger's directives) to a level of the agent's. */
export function agentLogLevel(directives: string): string {
  const levels = directives
    .split(',')
    .map((one) => /^(?:(?<module>[\w:]+)=)?(?<level>\w+)$/.exec(one.trim())?.groups)
    .filter((one) => one !== undefined);
  const own =
    levels.find(({module}) => module?.startsWith('mirrord')) ??
    levels.find(({module}) => module === undefined);
  const level = own?.['level']?.toLowerCase() ?? 'info';
  return {trace: 'debug', off: 'error'}[level] ?? level;
}

function agentArguments({mode, target, config, port, tokenSha256}: AgentPlan): string[] {
  const isThere = mode === 'visiting' || mode === 'ephemeral';
  return [
    ...['--listen', `${port}`, '--token-sha256', tokenSha256],
    ...(isThere && target.podName !== undefined
      ? ['--container-id', target.containerId]
      : ['--targetless']),
    ...(mode === 'ephemeral' ? ['--ephemeral'] : []),
    ...['--communication-timeout', `${config.communication_timeout ?? 30}`],
    ...['--idle-ttl', `${idleTtlSeconds}`],
    ...(config.resume_window === undefined ? [] : ['--resume-window', `${config.resume_window}`]),
    ...(config.metrics === undefined ? [] : ['--metrics', config.metrics]),
    ...['--log-format', config.json_log ? 'json' : 'text'],
  ];
}

/** What a container of a Job and an ephemeral one have in common. */
function container(plan: AgentPlan): V1Container {
  const {mode, target, config, image} = plan;
  // Secrets and ConfigMaps can only be had in their own namespace.
  const isReachable = plan.namespace === target.namespace;
  const copied =
    target.podName !== undefined && isReachable
      ? copyEnvironment(target.pod, target.containerName, mode === 'ephemeral')
      : {env: [], envFrom: []};
  return {
    name: agentContainer,
    image,
    imagePullPolicy: config.image_pull_policy,
    args: agentArguments(plan),
    env: [{name: 'MIRRORD_AGENT_LOG', value: agentLogLevel(config.log_level)}, ...copied.env],
    envFrom: copied.envFrom,
    securityContext: securityContext(mode, target, config),
    // The last words of one that ends early, for who may not read logs.
    terminationMessagePolicy: 'FallbackToLogsOnError',
  };
}

/** The agent as a container of the target's pod. */
export function ephemeralContainer(
  plan: AgentPlan & {target: KubePodTarget},
): V1EphemeralContainer {
  return {...container(plan), name: plan.name, targetContainerName: plan.target.containerName};
}

function tolerations({tolerations: given}: AgentConfig): NonNullable<V1PodSpec['tolerations']> {
  return given.map(({key, operator, value, effect, tolerationSeconds}) => ({
    ...(key !== undefined && {key}),
    ...(operator !== undefined && {operator}),
    ...(value !== undefined && {value}),
    ...(effect !== undefined && {effect}),
    ...(tolerationSeconds !== undefined && {tolerationSeconds}),
  }));
}

/**
 * Which node. By the node's name, as a DaemonSet's pods: through the scheduler, so that a full or tainted node
 * is told about, and without having to read the Node, as its label would need.
 */
function placement({mode, target, config, mayPin}: AgentPlan): Partial<V1PodSpec> {
  if (mode === 'targetless') {
    return {nodeSelector: {'kubernetes.io/os': 'linux', ...config.node_selector}};
  }
  if (mode !== 'visiting' || target.podName === undefined || !mayPin) return {};
  const matchFields = [{key: 'metadata.name', operator: 'In', values: [target.nodeName]}];
  return {
    affinity: {
      nodeAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchFields}]},
      },
    },
  };
}

/**
 * How long the agent may pass on what it has when it is told to end, before it is killed. Its connections are the target's: on
 * a node that is emptied both are told at once, and it must not be the agent that breaks what the target has time to
 * end.
 */
function gracePeriodSeconds({mode, target}: AgentPlan): number {
  if (mode !== 'visiting' || target.podName === undefined) return leaveSeconds;
  const {terminationGracePeriodSeconds: given = usualGraceSeconds} = target.pod.spec ?? {};
  return Math.max(given, usualGraceSeconds) + leaveSeconds;
}

/** The agent as a Job of its own. */
export function agentJob(plan: AgentPlan): V1Job {
  const {mode, config, name, namespace} = plan;
  const mesh = config.disable_mesh_sidecar_injection ? noMesh : undefined;
  const labels = {app: 'mirrord', ...mesh?.labels, ...config.labels};
  const annotations = {...mesh?.annotations, ...config.annotations};
  const {
    priority_class: priorityClassName,
    service_account: serviceAccountName,
    image_pull_secrets: imagePullSecrets,
  } = config;
  return {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: {name, namespace, labels, annotations},
    spec: {
      backoffLimit: 0,
      completions: 1,
      parallelism: 1,
      ttlSecondsAfterFinished: config.ttl,
      template: {
        metadata: {labels, annotations},
        spec: {
          restartPolicy: 'Never',
          // It finds the target's process among those of the node.
          ...(mode === 'visiting' && {hostPID: true}),
          // What the kubelet tells about Services is the target's to know, not an agent's that visits it.
          enableServiceLinks: mode !== 'visiting',
          automountServiceAccountToken: false,
          terminationGracePeriodSeconds: gracePeriodSeconds(plan),
          tolerations: tolerations(config),
          ...placement(plan),
          ...(priorityClassName !== undefined && {priorityClassName}),
          ...(serviceAccountName !== undefined && {serviceAccountName}),
          ...(imagePullSecrets !== undefined && {
            imagePullSecrets: imagePullSecrets.map(({name: secret}) => ({name: secret})),
          }),
          containers: [{...container(plan), resources: resources(config)}],
        },
      },
    },
  };
}

/** Ours only as a whole: a limit of the person's may be below a request of ours. */
function resources({resources: given}: AgentConfig): NonNullable<V1Container['resources']> {
  if (given === undefined) return defaultResources;
  const {limits, requests, claims} = given;
  return {
    ...(limits !== undefined && {limits: limits as Record<string, string>}),
    ...(requests !== undefined && {requests: requests as Record<string, string>}),
    ...(claims !== undefined && {claims: claims as {name: string}[]}),
  };
}
