/**
 * `target`: whose context the program gets, and in which namespace it is looked for.
 */

import {choice, type Keys, key, map, object, string, type Typed, values} from './types.ts';

/** Every kind of target, by its name in the object form and in the path form. */
export const targetKinds = {
  pod: 'pod',
  deployment: 'deployment',
  rollout: 'rollout',
  job: 'job',
  cron_job: 'cronjob',
  stateful_set: 'statefulset',
  daemon_set: 'daemonset',
  service: 'service',
  replica_set: 'replicaset',
} as const;

const container = key(
  string(),
  'Container of the pod; by default the first that is not a sidecar.',
);

function byName<const K extends string>(kind: K, what: string) {
  const keys: Keys = {
    [kind]: key(string(), `Name of the ${what}.`, {required: true}),
    container,
  };
  return object(keys) as Typed<unknown> as Typed<Record<K, string> & {container?: string}>;
}

const targetObjects = [
  byName('deployment', 'deployment'),
  byName('pod', 'pod'),
  byName('rollout', 'Argo rollout'),
  byName('job', 'job'),
  byName('cron_job', 'cron job'),
  byName('stateful_set', 'stateful set'),
  byName('daemon_set', 'daemon set'),
  byName('service', 'service'),
  byName('replica_set', 'replica set'),
  object({
    labels: key(map(string()), 'Labels that the pods must have, all of them.', {required: true}),
    container,
  }),
] as const;

const pathObject = choice(...targetObjects);

/** The `target` block. A path or a target object may stand for it. */
export const target = object(
  {
    path: key(
      choice(values('targetless'), string(), ...targetObjects),
      'Whose context: kind/name[/container/name], label/key=value, targetless, demo/pod or process/pid.',
      {
        env: 'MIRRORD_IMPERSONATED_TARGET',
        effective: 'targetless',
      },
    ),
    namespace: key(
      string(),
      'Namespace of the target; by default that of the kubeconfig context.',
      {
        env: 'MIRRORD_TARGET_NAMESPACE',
      },
    ),
  },
  {
    accepts: [values('targetless'), string(), pathObject],
    expand: (value) => {
      if (typeof value === 'string') return {path: value};
      if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
      const names = Object.keys(value);
      const direct = names.some((name) => Object.hasOwn(targetKinds, name) || name === 'labels');
      return direct && !names.includes('path') ? {path: value} : undefined;
    },
  },
);
