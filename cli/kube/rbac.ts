/**
 * The least that a person must be allowed to use mirrord, for each way to run the agent: what
 * `mirrord rbac` prints, what docs/kubernetes.md shows, and what the tests run with.
 */

/** How the agent is run. */
export const rbacModes = ['job', 'ephemeral', 'targetless'] as const;

/** How the agent is run: as a Job on the target's node, as a container in its pod, or as a Job anywhere. */
export type RbacMode = (typeof rbacModes)[number];

/** A rule of a Role (rbac.authorization.k8s.io/v1 PolicyRule). */
export interface Rule {
  apiGroups: readonly string[];
  resources: readonly string[];
  verbs: readonly string[];
}

/** A Role or ClusterRole. */
export interface Role {
  apiVersion: 'rbac.authorization.k8s.io/v1';
  kind: 'Role' | 'ClusterRole';
  metadata: {name: string; namespace?: string};
  rules: readonly Rule[];
}

/** To find a target: the workload, then its pods. To list is for `mirrord ls`, and for the pods of a workload. */
const target: readonly Rule[] = [
  {apiGroups: [''], resources: ['pods', 'services'], verbs: ['get', 'list']},
  {
    apiGroups: ['apps'],
    resources: ['deployments', 'statefulsets', 'daemonsets', 'replicasets'],
    verbs: ['get', 'list'],
  },
  {apiGroups: ['batch'], resources: ['jobs', 'cronjobs'], verbs: ['get', 'list']},
  {apiGroups: ['argoproj.io'], resources: ['rollouts'], verbs: ['get', 'list']},
  {apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: ['list']},
];

/** To follow an agent's pod until it is ready, with what it says if it doesn't become so, and reach it. */
const reach: readonly Rule[] = [
  {apiGroups: [''], resources: ['pods'], verbs: ['list', 'watch']},
  {apiGroups: [''], resources: ['pods/log'], verbs: ['get']},
  // The WebSocket's upgrade is a get; from Kubernetes 1.35 on a create.
  {apiGroups: [''], resources: ['pods/portforward'], verbs: ['get', 'create']},
  {apiGroups: [''], resources: ['events'], verbs: ['list', 'watch']},
];

const job: readonly Rule[] = [
  {apiGroups: ['batch'], resources: ['jobs'], verbs: ['create', 'delete']},
];

const ephemeral: readonly Rule[] = [
  {apiGroups: [''], resources: ['pods/ephemeralcontainers'], verbs: ['update']},
];

function role(name: string, namespace: string, rules: readonly Rule[]): Role {
  return {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'Role',
    metadata: {name, namespace},
    rules,
  };
}

/**
 * The roles of a mode. `agentNamespace` is where the agent's Job is, if it isn't where the target is
 * (`agent.namespace`); then there are two roles.
 */
export function leastRoles(mode: RbacMode, namespace: string, agentNamespace = namespace): Role[] {
  if (mode === 'ephemeral') {
    return [role('mirrord-ephemeral', namespace, [...target, ...reach, ...ephemeral])];
  }
  if (mode === 'targetless') return [role('mirrord-targetless', namespace, [...reach, ...job])];
  if (agentNamespace === namespace) {
    return [role('mirrord', namespace, [...target, ...reach, ...job])];
  }
  return [
    role('mirrord', namespace, target),
    role('mirrord-agent', agentNamespace, [...reach, ...job]),
  ];
}

/** What makes it better, beyond a namespace; mirrord does without. */
export function optionalRole(): Role {
  return {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'ClusterRole',
    metadata: {name: 'mirrord-optional'},
    rules: [
      // To name a node that has no room for another pod, before trying (agent.check_out_of_pods).
      {apiGroups: [''], resources: ['nodes'], verbs: ['get']},
      {apiGroups: [''], resources: ['pods'], verbs: ['list']},
      // For the IDE plugins' choice of a namespace.
      {apiGroups: [''], resources: ['namespaces'], verbs: ['list']},
    ],
  };
}
