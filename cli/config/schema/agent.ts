/**
 * `agent`: the pod (or ephemeral container) that works for a session inside the cluster.
 */

import {
  anything,
  array,
  boolean,
  choice,
  integer,
  key,
  map,
  object,
  section,
  string,
  values,
} from './types.ts';

const profile = (what: string) =>
  object({
    type: key(string(), `Kind of ${what} profile: RuntimeDefault, Localhost or Unconfined.`, {
      required: true,
    }),
    localhost_profile: key(string(), 'Name of the profile on the node, for Localhost.'),
  });

const image = choice(
  string(),
  object({
    registry: key(string(), 'Registry and name of the image.', {
      env: {name: 'MIRRORD_AGENT_IMAGE_REGISTRY', weak: true},
    }),
    tag: key(string(), 'Tag of the image.', {env: {name: 'MIRRORD_AGENT_IMAGE_TAG', weak: true}}),
  }),
);

const security = object({
  app_armor_profile: key(profile('AppArmor'), 'AppArmor profile of the agent pod.'),
  seccomp_profile: key(profile('seccomp'), 'Seccomp profile of the agent pod.'),
});

const toleration = object({
  key: key(string(), 'Taint key; without it the toleration fits every key.'),
  operator: key(values('Exists', 'Equal'), 'How key and value are compared.'),
  value: key(string(), 'Value of the taint, with Equal.'),
  effect: key(string(), 'Effect of the taint; without it all of them.'),
  tolerationSeconds: key(integer(-1), 'How long NoExecute is tolerated.'),
});

const resources = object({
  limits: key(map(anything()), 'Most of each resource that the agent may use.'),
  requests: key(map(anything()), 'What the scheduler sets aside for the agent.'),
  claims: key(array(anything()), 'Resource claims of the agent.'),
});

/** The `agent` block. */
export const agent = object({
  annotations: key(map(string()), "Extra annotations on the agent's Job and pod."),
  check_out_of_pods: key(boolean(), 'Look whether the node has room for a pod first.', {
    default: true,
  }),
  clean_iptables_on_start: key(boolean(), 'Remove rules that an earlier agent left behind.', {
    env: 'MIRRORD_AGENT_CLEAN_IPTABLES_ON_START',
    effective: 'true: what a dead agent has left has expired, and is cleared away',
    status: 'no-effect-here',
    instead: 'rules of a dead agent expire by themselves, within seconds',
  }),
  communication_timeout: key(integer(), 'Seconds the agent waits for its first client.', {
    env: 'MIRRORD_AGENT_COMMUNICATION_TIMEOUT',
    effective: '30',
  }),
  disable_mesh_sidecar_injection: key(boolean(), 'Keep service meshes from adding a sidecar.', {
    default: true,
  }),
  disabled_capabilities: key(
    array(string()),
    'Linux capabilities not to ask for: NET_ADMIN, NET_RAW, SYS_PTRACE, SYS_ADMIN.',
    {env: 'MIRRORD_AGENT_DISABLED_CAPABILITIES'},
  ),
  dns: section(
    object({
      attempts: key(integer(), 'How often the agent asks a name server before it gives up.'),
      timeout: key(integer(), 'Seconds the agent waits for a name server.'),
    }),
    "The agent's resolver.",
    {
      status: 'no-effect-here',
      instead: "programs ask the pod's name servers themselves, as patiently as RES_OPTIONS says",
    },
  ),
  ephemeral: key(boolean(), "Run the agent as an ephemeral container of the target's pod.", {
    default: false,
    env: 'MIRRORD_EPHEMERAL_CONTAINER',
  }),
  exclude_from_mesh: key(boolean(), "Keep an ephemeral agent's port out of the mesh's sidecar.", {
    default: false,
    env: 'MIRRORD_AGENT_EXCLUDE_FROM_MESH',
    status: 'no-effect-here',
    instead: "the agent's port is one of loopback, which meshes leave alone",
  }),
  external_ip_fix: key(boolean(), 'Let passed-through connections keep their original address.', {
    default: true,
    env: 'MIRRORD_AGENT_EXTERNAL_IP_FIX',
    status: 'no-effect-here',
    instead: 'they always keep it',
  }),
  flush_connections: key(boolean(), 'Cut connections to a port that stand when stealing begins.', {
    env: 'MIRRORD_AGENT_STEALER_FLUSH_CONNECTIONS',
    // mirrord's is true. Whoever is in the middle of a request then loses it: harmless comes first.
    effective: 'false: they stay with the target, and you are told',
  }),
  http_detection_timeout: key(
    integer(),
    'Seconds to wait for bytes that tell whether it is HTTP.',
    {
      default: 2,
      env: 'MIRRORD_AGENT_HTTP_DETECTION_TIMEOUT',
    },
  ),
  image: key(image, "The agent's image: a reference, or registry and tag.", {
    env: 'MIRRORD_AGENT_IMAGE',
    effective: 'none is published yet: docs/agent.md',
  }),
  image_pull_policy: key(string(), 'When the node pulls the image.', {
    default: 'IfNotPresent',
    env: 'MIRRORD_AGENT_IMAGE_PULL_POLICY',
  }),
  image_pull_secrets: key(
    array(object({name: key(string(), 'Name of a Secret.', {required: true})})),
    'Secrets for pulling the image.',
  ),
  inject_headers: key(boolean(), 'Add a header to responses that went through the agent.', {
    default: false,
  }),
  jaq_time_limit: key(integer(), 'Milliseconds that one jq filter may take.', {
    default: 500,
  }),
  json_log: key(boolean(), 'Log as lines of JSON.', {
    default: false,
    env: 'MIRRORD_AGENT_JSON_LOG',
  }),
  labels: key(map(string()), "Extra labels on the agent's Job and pod."),
  log_level: key(string(), 'What the agent logs, as a level or as directives.', {
    default: 'info',
    env: 'MIRRORD_AGENT_RUST_LOG',
  }),
  max_body_buffer_size: key(integer(), 'Bytes of a body that are kept for a body filter.', {
    default: 65_535,
  }),
  max_body_buffer_timeout: key(integer(), 'Milliseconds to wait for a body that is filtered.', {
    default: 1000,
  }),
  metrics: key(string(), "Address and port of the agent's Prometheus endpoint.", {
    effective: 'none',
  }),
  namespace: key(string(), "The agent's namespace; by default the target's.", {
    env: 'MIRRORD_AGENT_NAMESPACE',
  }),
  nftables: key(boolean(), 'Use nftables (true) or legacy iptables (false).', {
    effective: 'nftables, and iptables where that is missing',
    status: 'later',
    instead: 'nftables is used, and iptables where that is missing',
  }),
  node_selector: key(map(string()), 'Nodes for an agent without a target.'),
  override_cache_control: key(boolean(), 'Forbid caching of responses through the agent.', {
    default: true,
  }),
  priority_class: key(string(), 'Priority class of the agent pod.'),
  privileged: key(boolean(), 'Run the agent as a privileged container.', {default: false}),
  resources: key(resources, 'Requests and limits of the agent container.', {
    effective: 'requests 10m CPU and 32Mi; limits 1 CPU and 256Mi',
  }),
  security_context: key(security, "The agent pod's security context."),
  service_account: key(string(), 'Service account of the agent pod.'),
  resume_window: key(integer(), 'Seconds that a lost connection may take to come back.', {
    env: 'MIRRORD_AGENT_RESUME_WINDOW',
    effective: '60',
  }),
  startup_timeout: key(integer(), 'Seconds to wait for the agent to be ready.', {
    default: 60,
    env: 'MIRRORD_AGENT_STARTUP_TIMEOUT',
  }),
  tolerations: key(array(toleration), 'Taints that the agent pod tolerates; [] for none.', {
    default: [{operator: 'Exists'}],
  }),
  ttl: key(integer(), 'Seconds that a finished Job of an agent is kept.', {
    default: 1,
    env: 'MIRRORD_AGENT_TTL',
  }),
});
