/**
 * The pods of each kind of target.
 */

import type {
  V1CronJob,
  V1Deployment,
  V1EndpointSlice,
  V1Job,
  V1LabelSelector,
  V1Pod,
  V1Service,
} from '@kubernetes/client-node';
import {MirrordError} from '../../../layer/errors.ts';
import type {Target} from '../../config/target.ts';
import type {KubeClient} from '../client.ts';
import {hasStatus} from '../errors.ts';
import {type ApiResource, apiPath, resources} from '../path.ts';

/** A target that is something in the cluster. */
export type ClusterTarget = Exclude<Target, {kind: 'targetless' | 'demo' | 'process'}>;

/** So many pods of a workload are looked at: one is wanted. */
const podLimit = 500;
/** So many pods of a Service without a selector are fetched one by one. */
const endpointLimit = 20;

const selectorKinds = {
  deployment: resources.deployments,
  rollout: resources.rollouts,
  statefulset: resources.statefulsets,
  daemonset: resources.daemonsets,
  replicaset: resources.replicasets,
  job: resources.jobs,
} as const;

function quoteSet(values: readonly string[] = []): string {
  return `(${values.join(',')})`;
}

/** A LabelSelector in the form of a query. */
export function selectorQuery({matchLabels, matchExpressions}: V1LabelSelector): string {
  const equal = Object.entries(matchLabels ?? {}).map(([key, value]) => `${key}=${value}`);
  const expressions = (matchExpressions ?? []).map(({key, operator, values}) => {
    if (operator === 'In') return `${key} in ${quoteSet(values)}`;
    if (operator === 'NotIn') return `${key} notin ${quoteSet(values)}`;
    return operator === 'Exists' ? key : `!${key}`;
  });
  return [...equal, ...expressions].join(',');
}

/** Finds the pods of a target. */
export class PodFinder {
  readonly #client: KubeClient;
  readonly #namespace: string;
  readonly #signal: AbortSignal | undefined;

  constructor(client: KubeClient, namespace: string, signal?: AbortSignal) {
    this.#client = client;
    this.#namespace = namespace;
    this.#signal = signal;
  }

  /** The pods, whatever state they are in. Throws MIRRORD_TARGET_NOT_FOUND, MIRRORD_TARGET_NOT_READY. */
  async find(target: ClusterTarget): Promise<V1Pod[]> {
    switch (target.kind) {
      case 'pod':
        return [await this.#get<V1Pod>(resources.pods, 'pod', target.name)];
      case 'label':
        return await this.#select({matchLabels: {...target.labels}});
      case 'service':
        return await this.#ofService(target.name);
      case 'cronjob':
        return await this.#ofCronJob(target.name);
      default:
        return await this.#ofWorkload(target.kind, target.name);
    }
  }

  async #get<T>(resource: ApiResource, kind: string, name: string): Promise<T> {
    const path = apiPath(resource, {namespace: this.#namespace, name});
    try {
      return await this.#client.get<T>(path, this.#signal);
    } catch (error) {
      if (!hasStatus(error, 404)) throw error;
      const isUnknownKind =
        error.reason !== 'NotFound' || /could not find the requested resource/.test(error.answer);
      throw new MirrordError(
        'MIRRORD_TARGET_NOT_FOUND',
        isUnknownKind
          ? `the cluster has no ${resource.resource} (${resource.api})`
          : `there is no ${kind} ${name} in namespace ${this.#namespace}`,
        {
          hint: isUnknownKind
            ? 'what defines them is not installed there'
            : `see what there is: mirrord ls -n ${this.#namespace}; another namespace: -n NAMESPACE`,
          cause: error,
        },
      );
    }
  }

  async #select(selector: V1LabelSelector): Promise<V1Pod[]> {
    const labelSelector = selectorQuery(selector);
    // Nothing selected is nothing; for the API it would be everything.
    if (labelSelector === '') return [];
    const {items} = await this.#client.request<{items: V1Pod[]}>({
      path: apiPath(resources.pods, {namespace: this.#namespace}),
      query: {labelSelector, limit: podLimit},
      ...(this.#signal && {signal: this.#signal}),
    });
    return items;
  }

  async #ofWorkload(kind: keyof typeof selectorKinds, name: string): Promise<V1Pod[]> {
    const {spec} = await this.#get<V1Deployment & RolloutReference>(
      selectorKinds[kind],
      kind,
      name,
    );
    const reference = spec?.workloadRef;
    if (spec?.selector === undefined && reference !== undefined) {
      return await this.#ofWorkload('deployment', reference.name);
    }
    return await this.#select(spec?.selector ?? {});
  }

  async #ofCronJob(name: string): Promise<V1Pod[]> {
    const {metadata} = await this.#get<V1CronJob>(resources.cronjobs, 'cronjob', name);
    const path = apiPath(resources.jobs, {namespace: this.#namespace});
    // Its status lists only the jobs of its schedule, not those that a person made of it.
    const all = await this.#client.list<V1Job>(path, {}, this.#signal);
    const running = all.filter(
      (job) =>
        job.metadata?.ownerReferences?.some(({uid}) => uid === metadata?.uid) &&
        (job.status?.active ?? 0) > 0,
    );
    if (running.length === 0) {
      throw new MirrordError('MIRRORD_TARGET_NOT_READY', `no job of cronjob ${name} runs now`, {
        hint: `start one: kubectl -n ${this.#namespace} create job ${name}-now --from=cronjob/${name}`,
      });
    }
    const pods = await Promise.all(running.map(({spec}) => this.#select(spec?.selector ?? {})));
    return pods.flat();
  }

  async #ofService(name: string): Promise<V1Pod[]> {
    const {spec} = await this.#get<V1Service>(resources.services, 'service', name);
    if (spec?.type === 'ExternalName') {
      throw new MirrordError(
        'MIRRORD_TARGET_NOT_READY',
        `service ${name} is but a name for ${spec.externalName}: it has no pods`,
        {hint: 'name a workload or a pod: mirrord ls'},
      );
    }
    const selector = spec?.selector ?? {};
    if (Object.keys(selector).length > 0) return await this.#select({matchLabels: selector});
    return await this.#ofEndpoints(name);
  }

  /** Somebody else than the Service says what its pods are. */
  async #ofEndpoints(service: string): Promise<V1Pod[]> {
    const path = apiPath(resources.endpointslices, {namespace: this.#namespace});
    const labelSelector = `kubernetes.io/service-name=${service}`;
    const slices = await this.#client.list<V1EndpointSlice>(path, {labelSelector}, this.#signal);
    const names = slices
      .flatMap(({endpoints}) => endpoints ?? [])
      .flatMap(({targetRef}) => (targetRef?.kind === 'Pod' ? [targetRef.name ?? ''] : []));
    const unique = [...new Set(names)].slice(0, endpointLimit);
    const pods = await Promise.all(
      unique.map(async (pod) => {
        const podPath = apiPath(resources.pods, {namespace: this.#namespace, name: pod});
        return await this.#client.get<V1Pod>(podPath, this.#signal).catch((error: unknown) => {
          if (hasStatus(error, 404)) return undefined;
          throw error;
        });
      }),
    );
    return pods.filter((pod) => pod !== undefined);
  }
}

/** An Argo Rollout may leave its pods' description to a Deployment. */
interface RolloutReference {
  spec?: {workloadRef?: {name: string}};
}
