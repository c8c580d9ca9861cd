/**
 * Follows an agent's pod from its creation to its end.
 *
 * Theory of operation. Nothing is polled: the pod is watched, from before it exists, and for an agent with a
 * Job the Job's events with it, as they alone say why there is no pod. The kubelet tells that the container
 * runs some 10 ms after it does. There is no readiness probe: an ephemeral container can't have one, it looks
 * at most once a second, and that the agent answers through the port-forward is what must be known anyway
 * (`ready.ts`). Whoever may not read events learns of a failed creation by the time limit only.
 */

import type {CoreV1Event, V1Pod} from '@kubernetes/client-node';
import type {Log} from '../../../layer/log.ts';
import type {KubeClient} from '../client.ts';
import {hasStatus} from '../errors.ts';
import {apiPath, resources} from '../path.ts';
import {
  type AgentPlace,
  agentStatus,
  containerEnd,
  describeProgress,
  earlyEnd,
  jobFailure,
  podFailure,
} from './failures.ts';

/** Lines of an agent's log that an error quotes. */
const quotedLines = 5;

/** Follows one agent until it is disposed of. */
export class AgentWatch implements Disposable {
  /** Resolves with the pod's name when the container runs. */
  readonly running: Promise<string>;
  /** Rejects with what keeps the agent from starting, or with its end as one that came too early. */
  readonly failed: Promise<never>;
  /** Resolves with the reason when the container is over, or its pod gone; never, once disposed of. */
  readonly ended: Promise<string>;

  readonly #client: KubeClient;
  readonly #place: AgentPlace;
  readonly #abort = new AbortController();
  readonly #running = Promise.withResolvers<string>();
  readonly #failed = Promise.withResolvers<never>();
  readonly #ended = Promise.withResolvers<string>();
  readonly #log: Log;
  /** What the log has been told. */
  readonly #steps = new Set<string>();
  #pod: V1Pod | undefined;

  /** `podName`: of an ephemeral container's pod; the pod of a Job is found by its label. */
  constructor(client: KubeClient, place: AgentPlace, podName: string | undefined, log: Log) {
    this.#log = log;
    this.#client = client;
    this.#place = place;
    this.running = this.#running.promise;
    this.failed = this.#failed.promise;
    this.ended = this.#ended.promise;
    this.failed.catch(() => undefined); // whoever starts the agent waits for it
    void this.#followPod(podName);
    if (podName === undefined) void this.#followJob();
  }

  /** Where the start stands. */
  get progress(): string {
    return describeProgress(this.#pod, this.#place.container);
  }

  [Symbol.dispose](): void {
    this.#abort.abort();
  }

  async #followPod(podName: string | undefined): Promise<void> {
    const {namespace, name} = this.#place;
    const selection =
      podName === undefined
        ? {labelSelector: `job-name=${name}`}
        : {fieldSelector: `metadata.name=${podName}`};
    const path = apiPath(resources.pods, {namespace});
    try {
      const {signal} = this.#abort;
      for await (const {type, object} of this.#client.watch<V1Pod>(path, selection, signal)) {
        await this.#look(type, object);
      }
    } catch (error) {
      if (!this.#abort.signal.aborted) this.#failed.reject(error);
    }
  }

  async #look(type: string, pod: V1Pod): Promise<void> {
    this.#pod = pod;
    const {container} = this.#place;
    if (type === 'DELETED') {
      this.#end('its pod was deleted', '');
      return;
    }
    const end = containerEnd(pod, container);
    if (end !== undefined) {
      this.#end(end, await this.#lastWords(pod));
      return;
    }
    const isOwn = this.#place.mode !== 'ephemeral';
    if (isOwn && pod.spec?.nodeName) this.#logOnce('start: agent scheduled');
    if (agentStatus(pod, container)?.state?.running) {
      this.#logOnce('start: agent runs');
      this.#running.resolve(pod.metadata?.name ?? '');
      return;
    }
    const failure = podFailure(pod, this.#place);
    if (failure !== undefined) this.#failed.reject(failure);
  }

  #logOnce(step: string): void {
    if (this.#steps.has(step)) return;
    this.#steps.add(step);
    this.#log(step);
  }

  #end(end: string, words: string): void {
    this.#failed.reject(earlyEnd(end, words, this.#place));
    this.#ended.resolve(words === '' ? end : `${end.split(':', 1)[0]}: ${words}`);
  }

  /** What the agent wrote last. Reading logs is a right that one may lack: the status has its end, too. */
  async #lastWords(pod: V1Pod): Promise<string> {
    const {namespace, container} = this.#place;
    const name = pod.metadata?.name ?? '';
    const path = apiPath(resources.pods, {namespace, name, subresource: 'log'});
    try {
      const log = await this.#client.text({path, query: {container, tailLines: quotedLines}});
      return log.trim();
    } catch {
      return '';
    }
  }

  async #followJob(): Promise<void> {
    const {namespace, name} = this.#place;
    const path = apiPath(resources.events, {namespace});
    const selection = {fieldSelector: `involvedObject.kind=Job,involvedObject.name=${name}`};
    try {
      const {signal} = this.#abort;
      for await (const {object} of this.#client.watch<CoreV1Event>(path, selection, signal)) {
        const failure = jobFailure(object, this.#place);
        if (failure !== undefined) this.#failed.reject(failure);
      }
    } catch (error) {
      if (this.#abort.signal.aborted || hasStatus(error, 403)) return;
      this.#failed.reject(error);
    }
  }
}
