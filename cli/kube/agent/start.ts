/**
 * Starts an agent in a cluster, and removes it.
 *
 * An agent is a Job of one pod (by default), or an ephemeral container of the target's pod. Its session's token
 * is made here and never stands in the cluster: the objects carry its SHA-256, the token travels inside the
 * port-forward. Whatever ends mirrord, the agent goes by itself (agent/attendance.ts), when nothing of others passes through it
 * any more, and its finished Job by `agent.ttl`. The Job is only deleted when the agent can't have heard of the end, or
 * has not begun.
 */

import {createHash, randomBytes, randomInt} from 'node:crypto';
import {readFileSync} from 'node:fs';
import type {Duplex} from 'node:stream';
import type {V1Pod} from '@kubernetes/client-node';
import {MirrordError} from '../../../layer/errors.ts';
import type {Log} from '../../../layer/log.ts';
import type {KubeClient} from '../client.ts';
import {hasStatus} from '../errors.ts';
import {apiPath, resources} from '../path.ts';
import type {KubeTarget} from '../target/resolve.ts';
import {type AgentPlace, creationFailure} from './failures.ts';
import {type AgentConfig, type AgentMode, agentMode, missingAbilities} from './mode.ts';
import {checkMetricsPort, choosePort} from './ports.ts';
import {AgentGoneError, connectOnce, connectReady} from './ready.ts';
import {checkRoom, mayPinTo, readNode} from './room.ts';
import {
  type AgentPlan,
  agentContainer,
  agentImage,
  agentJob,
  agentNamespace,
  ephemeralContainer,
} from './spec.ts';
import {AgentWatch} from './watch.ts';

/** An agent that runs and has answered. */
export interface KubeAgent extends AsyncDisposable {
  /** The first time the connection that the agent answered on; later a new one. Carries the WebSocket. */
  connect(): Promise<Duplex>;
  /** The session token, hexadecimal. */
  readonly token: string;
  /** Why the agent is over, once it is. */
  readonly ended: Promise<string>;
  /** How it gets to its target. */
  readonly mode: AgentMode;
  /** Where it runs. */
  readonly namespace: string;
  readonly podName: string;
  /** It has heard of the end: whoever disposes of it leaves it to go by itself. */
  release(): void;
}

/** Who hears of a start. */
export interface StartOptions {
  warn?: (message: string) => void;
  /** Hears when the agent is created, scheduled, running, and answering. */
  log?: Log;
  /** Gives the start up; what was made is removed. */
  signal?: AbortSignal;
}

/** A slow start is told about so often, ms. */
const reportMs = 20_000;
/** The end of mirrord waits no longer for the API server, ms: the Job goes by itself, too. */
const removalTimeoutMs = 5_000;
/** Attempts to change a pod that others change at the same time. */
const conflictLimit = 5;

/**
 * Starts an agent for a target. Throws KubeError for what the API server refuses, and MIRRORD_AGENT_IMAGE_MISSING,
 * …_IMAGE_FAILED, …_CONTAINER_FAILED, …_FAILED, …_UNSCHEDULABLE, …_QUOTA, …_REFUSED, …_TIMEOUT, MIRRORD_NODE_FULL,
 * MIRRORD_POD_SECURITY.
 */
export async function startKubeAgent(
  client: KubeClient,
  target: KubeTarget,
  config: AgentConfig,
  {warn = () => undefined, log = () => undefined, signal}: StartOptions = {},
): Promise<KubeAgent> {
  const token = randomBytes(32);
  const plan = await planAgent(client, target, config, token);
  const missing = missingAbilities(plan.mode, config);
  if (missing !== undefined) warn(missing);
  const without = withoutEffect(plan);
  if (without !== undefined) warn(without);
  const place = placeOf(plan);
  const watch = new AgentWatch(client, place, podNameOf(plan), log);
  let isReleased = false;
  const remove = async (): Promise<void> => {
    watch[Symbol.dispose]();
    if (!isReleased) await removeAgent(client, plan);
  };
  try {
    await createAgent(client, plan, place);
    log('start: agent created', {mode: plan.mode, name: plan.name});
    const podName = await waitFor(watch, {config, warn, signal}, watch.running);
    const pod = {namespace: plan.namespace, pod: podName, port: plan.port};
    const over = new AbortController();
    const connecting = connectReady(client, pod, over.signal);
    // One that nobody wants any more, as the start was given up meanwhile.
    connecting.then((late) => over.signal.aborted && late.destroy()).catch(() => undefined);
    let first: Duplex | undefined = await waitFor(watch, {config, warn, signal}, connecting).catch(
      (error: unknown) => {
        over.abort();
        throw error;
      },
    );
    log('start: agent answers');
    const gone = Promise.withResolvers<string>();
    return {
      async connect() {
        const ready = first;
        first = undefined;
        if (ready !== undefined) return ready;
        return await connectOnce(client, pod).catch((error: unknown) => {
          if (error instanceof AgentGoneError) gone.resolve(error.message);
          throw error;
        });
      },
      token: token.toString('hex'),
      // Its container goes on for as long as what it has left there.
      ended: Promise.race([watch.ended, gone.promise]),
      mode: plan.mode,
      namespace: plan.namespace,
      podName,
      release() {
        isReleased = true;
      },
      async [Symbol.asyncDispose]() {
        first?.destroy();
        await remove();
      },
    };
  } catch (error) {
    await remove();
    throw error;
  }
}

async function planAgent(
  client: KubeClient,
  target: KubeTarget,
  config: AgentConfig,
  token: Uint8Array,
): Promise<AgentPlan> {
  const mode = agentMode(target, config);
  checkMetricsPort(mode, target, config);
  const image = agentImage(config, ownVersion());
  const nodeName = mode === 'visiting' ? target.podName && target.nodeName : undefined;
  const node = nodeName === undefined ? undefined : await readNode(client, nodeName);
  if (node !== undefined && config.check_out_of_pods) await checkRoom(client, node);
  return {
    mode,
    target,
    config,
    image,
    name: `${agentContainer}-${randomName()}`,
    namespace: agentNamespace(mode, target, config),
    port: choosePort(target, config),
    tokenSha256: createHash('sha256').update(token).digest('hex'),
    mayPin: mayPinTo(node),
  };
}

function ownVersion(): string {
  const file = new URL('../../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as {version?: string}).version ?? 'latest';
}

function randomName(): string {
  const characters = 'abcdefghijklmnopqrstuvwxyz0123456789';
  return Array.from({length: 10}, () => characters[randomInt(characters.length)]).join('');
}

function podNameOf({mode, target}: AgentPlan): string | undefined {
  return mode === 'ephemeral' ? target.podName : undefined;
}

function placeOf({mode, namespace, name, image, target}: AgentPlan): AgentPlace {
  return {
    mode,
    namespace,
    name,
    image,
    container: mode === 'ephemeral' ? name : agentContainer,
    nodeName: mode === 'visiting' && target.podName !== undefined ? target.nodeName : undefined,
  };
}

/** Keys of a pod of its own, which an ephemeral container doesn't have. */
function withoutEffect({mode, config}: AgentPlan): string | undefined {
  if (mode !== 'ephemeral') return undefined;
  const keys = [
    ...(['annotations', 'image_pull_secrets', 'labels', 'priority_class'] as const),
    ...(['resources', 'service_account'] as const),
  ].filter((key) => config[key] !== undefined);
  if (keys.length === 0) return undefined;
  return `${keys.map((key) => `agent.${key}`).join(', ')}: without effect on an ephemeral agent, which is part of the target's pod`;
}

async function createAgent(client: KubeClient, plan: AgentPlan, place: AgentPlace): Promise<void> {
  try {
    if (plan.target.podName !== undefined && plan.mode === 'ephemeral') {
      await addContainer(client, {...plan, target: plan.target});
    } else {
      await client.create(apiPath(resources.jobs, {namespace: plan.namespace}), agentJob(plan));
    }
  } catch (error) {
    throw creationFailure(error, place);
  }
}

/** Adds the ephemeral container; again, when somebody else has changed the pod in between. */
async function addContainer(
  client: KubeClient,
  plan: Parameters<typeof ephemeralContainer>[0],
): Promise<void> {
  const {namespace, podName: name} = plan.target;
  for (let attempt = 1; ; attempt += 1) {
    const pod = await client.get<V1Pod>(apiPath(resources.pods, {namespace, name}));
    const spec = pod.spec as NonNullable<V1Pod['spec']>;
    spec.ephemeralContainers = [...(spec.ephemeralContainers ?? []), ephemeralContainer(plan)];
    try {
      await client.put(
        apiPath(resources.pods, {namespace, name, subresource: 'ephemeralcontainers'}),
        pod,
      );
      return;
    } catch (error) {
      if (!hasStatus(error, 409) || attempt === conflictLimit) throw error;
    }
  }
}

/** Waits for a step of the start, but no longer than the agent lives, the person wants, and the limit allows. */
async function waitFor<T>(
  watch: AgentWatch,
  {
    config,
    warn,
    signal,
  }: {config: AgentConfig; warn(message: string): void; signal: AbortSignal | undefined},
  step: Promise<T>,
): Promise<T> {
  const {promise: over, reject} = Promise.withResolvers<never>();
  const seconds = config.startup_timeout;
  const limit = setTimeout(() => {
    const hint = 'agent.startup_timeout is how many seconds are waited';
    const message = `the agent was not ready after ${seconds} s: ${watch.progress}`;
    reject(new MirrordError('MIRRORD_AGENT_TIMEOUT', message, {hint}));
  }, seconds * 1000);
  const report = setInterval(() => warn(`the agent is not ready yet: ${watch.progress}`), reportMs);
  const giveUp = (): void => reject(signal?.reason as Error);
  signal?.addEventListener('abort', giveUp);
  if (signal?.aborted === true) giveUp();
  try {
    return await Promise.race([step, over, watch.failed]);
  } finally {
    clearTimeout(limit);
    clearInterval(report);
    signal?.removeEventListener('abort', giveUp);
  }
}

/** Deletes the Job, with its pod. An ephemeral container ends by itself, and stays listed in its pod. */
async function removeAgent(client: KubeClient, {mode, namespace, name}: AgentPlan): Promise<void> {
  if (mode === 'ephemeral') return;
  try {
    await client.remove(
      apiPath(resources.jobs, {namespace, name}),
      {propagationPolicy: 'Background'},
      AbortSignal.timeout(removalTimeoutMs),
    );
  } catch {
    // The agent notices that its client is gone, and the Job's time to live does the rest.
  }
}
