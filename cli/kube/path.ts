/**
 * Paths of the Kubernetes API: made from what they name, and read back for what an error has to say.
 */

/** A kind of object, as paths have it: `{api: 'apps/v1', resource: 'deployments'}`. */
export interface ApiResource {
  /** Group and version; `v1` for the core group. */
  api: string;
  resource: string;
}

/** What a path names. */
export interface ApiPlace {
  namespace?: string;
  name?: string;
  subresource?: string;
}

/** The objects that mirrord works with. */
export const resources = {
  pods: {api: 'v1', resource: 'pods'},
  services: {api: 'v1', resource: 'services'},
  nodes: {api: 'v1', resource: 'nodes'},
  namespaces: {api: 'v1', resource: 'namespaces'},
  events: {api: 'v1', resource: 'events'},
  deployments: {api: 'apps/v1', resource: 'deployments'},
  statefulsets: {api: 'apps/v1', resource: 'statefulsets'},
  daemonsets: {api: 'apps/v1', resource: 'daemonsets'},
  replicasets: {api: 'apps/v1', resource: 'replicasets'},
  jobs: {api: 'batch/v1', resource: 'jobs'},
  cronjobs: {api: 'batch/v1', resource: 'cronjobs'},
  endpointslices: {api: 'discovery.k8s.io/v1', resource: 'endpointslices'},
  rollouts: {api: 'argoproj.io/v1alpha1', resource: 'rollouts'},
} as const satisfies Record<string, ApiResource>;

/** The path of an object, of a list of them (without a name), or of a part of one. */
export function apiPath({api, resource}: ApiResource, place: ApiPlace = {}): string {
  const root = api.includes('/') ? `/apis/${api}` : `/api/${api}`;
  const parts = [
    ...(place.namespace === undefined ? [] : ['namespaces', place.namespace]),
    resource,
    ...(place.name === undefined ? [] : [place.name]),
    ...(place.subresource === undefined ? [] : [place.subresource]),
  ];
  return `${root}/${parts.map(encodeURIComponent).join('/')}`;
}

/** What a path asks for, in the words of RBAC. */
export interface ApiSubject {
  /** Empty for the core group. */
  group: string;
  /** With its part: `pods/portforward`. */
  resource: string;
  namespace?: string;
  name?: string;
}

/** Reads a path that `apiPath` made; anything else is a resource by its path. */
export function parseApiPath(path: string): ApiSubject {
  const parts = path.split('/').slice(1).map(decodeURIComponent);
  const isCore = parts[0] === 'api';
  if (!isCore && parts[0] !== 'apis') return {group: '', resource: path};
  const group = isCore ? '' : (parts[1] ?? '');
  const rest = parts.slice(isCore ? 2 : 3);
  const inNamespace = rest[0] === 'namespaces' && rest.length > 2;
  const [resource = '', name, subresource] = inNamespace ? rest.slice(2) : rest;
  return {
    group,
    resource: subresource === undefined ? resource : `${resource}/${subresource}`,
    ...(inNamespace && {namespace: rest[1] as string}),
    ...(name !== undefined && {name}),
  };
}
