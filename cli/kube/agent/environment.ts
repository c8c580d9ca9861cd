/**
 * The target's environment as its pod specifies it, for the agent's own container.
 *
 * Every name gets a prefix (the agent's `cluster/specified-environment.ts` takes it off again): the target's
 * NODE_OPTIONS must not reach the agent. A missing ConfigMap or Secret keeps no agent from starting. What a
 * field of the pod means is another thing in another pod: there it is its value of now.
 */

import type {V1EnvFromSource, V1EnvVar, V1Pod} from '@kubernetes/client-node';

/** As in agent/cluster/specified-environment.ts. */
export const targetPrefix = 'MIRRORD_TARGET_';

/** Variables for a container: `env` and `envFrom`. */
export interface ContainerEnvironment {
  env: V1EnvVar[];
  envFrom: V1EnvFromSource[];
}

/** Names that the kubelet makes for Services, which have no prefix in the agent either. */
const ofService = /_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_\w+)?)$/;

/** Copies the environment of a container. `isSamePod`: for another container of the same pod. */
export function copyEnvironment(
  pod: V1Pod,
  containerName: string,
  isSamePod: boolean,
): ContainerEnvironment {
  const all = [...(pod.spec?.containers ?? []), ...(pod.spec?.initContainers ?? [])];
  const container = all.find(({name}) => name === containerName);
  const envFrom = (container?.envFrom ?? []).map((source) => copySource(source));
  const defined = new Set<string>();
  const env = (container?.env ?? []).flatMap((variable): V1EnvVar[] => {
    const copy = copyVariable(variable, {
      pod,
      containerName,
      isSamePod,
      refer: (name) => defined.has(name) || (envFrom.length > 0 && !ofService.test(name)),
    });
    if (copy === undefined) return [];
    defined.add(variable.name);
    return [{...copy, name: targetPrefix + variable.name}];
  });
  return {env, envFrom};
}

function copySource({prefix = '', configMapRef, secretRef}: V1EnvFromSource): V1EnvFromSource {
  return {
    prefix: targetPrefix + prefix,
    ...(configMapRef && {configMapRef: {...configMapRef, optional: true}}),
    ...(secretRef && {secretRef: {...secretRef, optional: true}}),
  };
}

interface Context {
  pod: V1Pod;
  containerName: string;
  isSamePod: boolean;
  /** Whether a name in `$(NAME)` has the prefix in the agent. */
  refer: (name: string) => boolean;
}

function copyVariable(
  {value, valueFrom}: V1EnvVar,
  {pod, containerName, isSamePod, refer}: Context,
): Omit<V1EnvVar, 'name'> | undefined {
  if (valueFrom === undefined) return {value: rename(value ?? '', refer)};
  const {configMapKeyRef, secretKeyRef, fieldRef, resourceFieldRef} = valueFrom;
  if (configMapKeyRef) {
    return {valueFrom: {configMapKeyRef: {...configMapKeyRef, optional: true}}};
  }
  if (secretKeyRef) return {valueFrom: {secretKeyRef: {...secretKeyRef, optional: true}}};
  if (fieldRef && isSamePod) return {valueFrom: {fieldRef}};
  if (fieldRef) {
    const field = fieldValue(pod, fieldRef.fieldPath);
    // `$(…)` in a value that is no reference must stay as it is.
    return field === undefined ? undefined : {value: field.replaceAll('$', '$$$$')};
  }
  if (resourceFieldRef && isSamePod) {
    return {valueFrom: {resourceFieldRef: {containerName, ...resourceFieldRef}}};
  }
  return undefined;
}

/** Gives the names in `$(NAME)` their prefix. `$$` is an escaped dollar. */
function rename(value: string, refer: (name: string) => boolean): string {
  return value.replace(/\$\$|\$\(([^)]*)\)/g, (text, name?: string) =>
    name !== undefined && refer(name) ? `$(${targetPrefix}${name})` : text,
  );
}

/** The value of a field of the downward API; undefined for one that is not there. */
export function fieldValue({metadata, spec, status}: V1Pod, path: string): string | undefined {
  const entry = /^metadata\.(labels|annotations)\['(.*)'\]$/.exec(path);
  if (entry !== null) {
    const map = entry[1] === 'labels' ? metadata?.labels : metadata?.annotations;
    return map?.[entry[2] ?? ''];
  }
  switch (path) {
    case 'metadata.name':
      return metadata?.name;
    case 'metadata.namespace':
      return metadata?.namespace;
    case 'metadata.uid':
      return metadata?.uid;
    case 'spec.nodeName':
      return spec?.nodeName;
    case 'spec.serviceAccountName':
      return spec?.serviceAccountName;
    case 'status.hostIP':
      return status?.hostIP;
    case 'status.hostIPs':
      return status?.hostIPs?.map(({ip}) => ip).join(',');
    case 'status.podIP':
      return status?.podIP;
    case 'status.podIPs':
      return status?.podIPs?.map(({ip}) => ip).join(',');
    default:
      return undefined;
  }
}
