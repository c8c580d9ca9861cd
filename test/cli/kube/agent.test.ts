import type {V1Pod} from '@kubernetes/client-node';
import test from 'ava';
import {TARGET_PREFIX} from '../../../agent/cluster/specified-environment.ts';
import {parseOptions} from '../../../agent/options.ts';
import {copyEnvironment, fieldValue, targetPrefix} from '../../../cli/kube/agent/environment.ts';
import {type AgentPlace, containerEnd, podFailure} from '../../../cli/kube/agent/failures.ts';
import {type AgentConfig, agentMode, missingAbilities} from '../../../cli/kube/agent/mode.ts';
import {checkMetricsPort} from '../../../cli/kube/agent/ports.ts';
import {
  type AgentPlan,
  agentImage,
  agentJob,
  agentLogLevel,
  agentNamespace,
  ephemeralContainer,
} from '../../../cli/kube/agent/spec.ts';
import type {KubePodTarget} from '../../../cli/kube/target/resolve.ts';

const pod: V1Pod = {
  metadata: {name: 'shop-1', namespace: 'shop', uid: 'u', labels: {app: 'shop'}},
  spec: {
    nodeName: 'node-1',
    serviceAccountName: 'shop',
    containers: [
      {
        name: 'shop',
        envFrom: [{prefix: 'C_', configMapRef: {name: 'c'}}],
        env: [
          {name: 'A', value: 'a'},
          {name: 'B', value: '$(A) $(LATER) $$(A) $(DB_SERVICE_HOST)'},
          {name: 'LATER', valueFrom: {secretKeyRef: {name: 's', key: 'k'}}},
          {name: 'NAME', valueFrom: {fieldRef: {fieldPath: 'metadata.name'}}},
          {name: 'APP', valueFrom: {fieldRef: {fieldPath: "metadata.labels['app']"}}},
          {name: 'CPU', valueFrom: {resourceFieldRef: {resource: 'limits.cpu'}}},
        ],
      },
    ],
  },
  status: {podIP: '10.0.0.1', podIPs: [{ip: '10.0.0.1'}, {ip: 'fd00::1'}]},
};

const target: KubePodTarget = {
  namespace: 'shop',
  podName: 'shop-1',
  podUid: 'u',
  nodeName: 'node-1',
  podIps: ['10.0.0.1'],
  hostIps: [],
  containerName: 'shop',
  containerId: 'ab'.repeat(32),
  runtime: 'containerd',
  pod,
};

const config = {
  disable_mesh_sidecar_injection: true,
  ephemeral: false,
  image_pull_policy: 'IfNotPresent',
  json_log: false,
  log_level: 'info',
  privileged: false,
  tolerations: [{operator: 'Exists'}],
  ttl: 1,
} as unknown as AgentConfig;

function plan(more: Partial<AgentConfig> = {}, place: Partial<AgentPlan> = {}): AgentPlan {
  const own = {...config, ...more};
  const mode = agentMode(place.target ?? target, own);
  return {
    mode,
    target,
    config: own,
    name: 'mirrord-agent-abc',
    namespace: agentNamespace(mode, place.target ?? target, own),
    port: 40_000,
    tokenSha256: 'cd'.repeat(32),
    image: 'agent:1',
    mayPin: true,
    ...place,
  };
}

test('an agent that visits its target is on its node, sees its processes, and has three capabilities', (t) => {
  const {spec, metadata} = agentJob(plan());
  const inner = spec?.template.spec;
  t.true(inner?.hostPID);
  t.deepEqual(
    inner?.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution
      ?.nodeSelectorTerms,
    [{matchFields: [{key: 'metadata.name', operator: 'In', values: ['node-1']}]}],
  );
  const [container] = inner?.containers ?? [];
  t.deepEqual(container?.securityContext?.capabilities, {
    drop: ['ALL'],
    add: ['SYS_ADMIN', 'SYS_PTRACE', 'NET_ADMIN', 'NET_RAW'],
  });
  t.is(inner?.volumes, undefined);
  t.is(spec?.backoffLimit, 0);
  t.is(spec?.ttlSecondsAfterFinished, 1);
  t.is(metadata?.annotations?.['linkerd.io/inject'], 'disabled');
});

test('without capabilities an agent asks for nothing that Pod Security "restricted" forbids', (t) => {
  for (const own of [
    plan({disabled_capabilities: ['CAP_SYS_ADMIN', 'sys_ptrace', 'NET_ADMIN']}),
    plan({}, {target: {namespace: 'shop'}}),
  ]) {
    const inner = agentJob(own).spec?.template.spec;
    t.is(inner?.hostPID, undefined);
    const {runAsNonRoot, allowPrivilegeEscalation, capabilities, seccompProfile} =
      inner?.containers[0]?.securityContext ?? {};
    t.deepEqual(
      {runAsNonRoot, allowPrivilegeEscalation, capabilities, seccompProfile},
      {
        runAsNonRoot: true,
        allowPrivilegeEscalation: false,
        capabilities: {drop: ['ALL']},
        seccompProfile: {type: 'RuntimeDefault'},
      },
    );
  }
});

test('an ephemeral agent targets the container, and has no resources, which the API server refuses', (t) => {
  const own = plan({ephemeral: true});
  const container = ephemeralContainer({...own, target});
  t.is(container.targetContainerName, 'shop');
  t.is(container.name, 'mirrord-agent-abc');
  t.false('resources' in container);
  t.deepEqual(container.securityContext?.capabilities?.add, ['SYS_PTRACE', 'NET_ADMIN', 'NET_RAW']);
  const less = plan({ephemeral: true, disabled_capabilities: ['SYS_PTRACE', 'NET_ADMIN']});
  t.deepEqual(ephemeralContainer({...less, target}).securityContext?.capabilities, {drop: ['ALL']});
});

test('the agent understands the arguments that it is given', (t) => {
  const visiting = agentJob(plan({communication_timeout: 7, json_log: true}));
  const options = parseOptions(visiting.spec?.template.spec?.containers[0]?.args ?? [], {});
  t.like(options, {kind: 'locate', port: 40_000, containerId: target.containerId, isHome: false});
  const ephemeral = ephemeralContainer({...plan({ephemeral: true}), target});
  t.like(parseOptions(ephemeral.args ?? [], {}), {containerId: target.containerId, isHome: true});
  const alone = agentJob(plan({}, {target: {namespace: 'shop'}}));
  t.like(parseOptions(alone.spec?.template.spec?.containers[0]?.args ?? [], {}), {
    containerId: undefined,
    isHome: true,
  });
});

test('metrics are served where the configuration says, by default nowhere', (t) => {
  const given = (own: AgentPlan) =>
    parseOptions(agentJob(own).spec?.template.spec?.containers[0]?.args ?? [], {});
  t.like(given(plan({metrics: '[::]:9000'})), {metrics: {address: '::', port: 9000}});
  t.like(given(plan()), {metrics: undefined});
});

test("an ephemeral agent's metrics take no port of its pod's; those of a pod of its own may have the same", (t) => {
  const spec = {containers: [{name: 'shop', ports: [{containerPort: 9000}]}]};
  const listening = {...target, pod: {...pod, spec}};
  const own = (metrics: string) => ({...config, metrics});
  t.throws(() => checkMetricsPort('ephemeral', listening, own('0.0.0.0:9000')), {
    code: 'MIRRORD_CONFIG_INVALID',
    message: /agent.metrics has port 9000, which is the target's/,
  });
  t.notThrows(() => checkMetricsPort('ephemeral', listening, own('0.0.0.0:9001')));
  t.notThrows(() => checkMetricsPort('visiting', listening, own('0.0.0.0:9000')));
  t.notThrows(() => checkMetricsPort('targetless', {namespace: 'shop'}, own('0.0.0.0:9000')));
});

test('keys of the agent block reach the objects', (t) => {
  const {metadata, spec} = agentJob(
    plan({
      annotations: {a: '1'},
      labels: {l: '2'},
      disable_mesh_sidecar_injection: false,
      image_pull_secrets: [{name: 'pull'}],
      priority_class: 'high',
      resources: {limits: {memory: '64Mi'}},
      security_context: {
        app_armor_profile: {type: 'Localhost', localhost_profile: 'p'},
        seccomp_profile: {type: 'Unconfined'},
      },
      service_account: 'agent',
      tolerations: [],
      ttl: 30,
    }),
  );
  const inner = spec?.template.spec;
  t.deepEqual(metadata?.annotations, {a: '1'});
  t.deepEqual(metadata?.labels, {app: 'mirrord', l: '2'});
  t.like(inner, {priorityClassName: 'high', serviceAccountName: 'agent', tolerations: []});
  t.deepEqual(inner?.imagePullSecrets, [{name: 'pull'}]);
  t.deepEqual(inner?.containers[0]?.resources, {limits: {memory: '64Mi'}});
  t.deepEqual(inner?.containers[0]?.securityContext?.appArmorProfile, {
    type: 'Localhost',
    localhostProfile: 'p',
  });
  t.deepEqual(inner?.containers[0]?.securityContext?.seccompProfile, {type: 'Unconfined'});
  t.is(spec?.ttlSecondsAfterFinished, 30);
  const alone = agentJob(plan({node_selector: {zone: 'a'}}, {target: {namespace: 'shop'}}));
  t.is(alone.spec?.template.spec?.nodeSelector?.['zone'], 'a');
  const privileged = agentJob(plan({privileged: true})).spec?.template.spec?.containers[0];
  t.true(privileged?.securityContext?.privileged);
});

test('the namespace of an agent is its own for a Job with a target only', (t) => {
  const other = {...config, namespace: 'agents'};
  t.is(agentNamespace('visiting', target, other), 'agents');
  t.is(agentNamespace('ephemeral', target, other), 'shop');
  t.is(agentNamespace('targetless', {namespace: 'x'}, other), 'x');
});

test('the image is a reference, or a registry with a tag that is the version by default', (t) => {
  t.is(agentImage({...config, image: 'r/a:2'}, '9'), 'r/a:2');
  t.is(agentImage({...config, image: {registry: 'r/a'}}, '9'), 'r/a:9');
  t.is(agentImage({...config, image: {registry: 'r/a', tag: '3'}}, '9'), 'r/a:3');
  t.throws(() => agentImage({...config, image: {tag: '3'}}, '9'), {
    message: /not named/,
  });
});

for (const [directives, level] of [
  ['info', 'info'],
  ['mirrord=trace,warn', 'debug'],
  ['warn,mirrord_agent=debug', 'debug'],
  ['hyper=trace,off', 'error'],
  ['hyper=trace', 'info'],
  ['off', 'error'],
] as const) {
  test(`log level: ${directives} is ${level}`, (t) => t.is(agentLogLevel(directives), level));
}

test('the environment is copied behind a prefix that the agent knows; fields of another pod as values', (t) => {
  t.is(targetPrefix, TARGET_PREFIX);
  const p = targetPrefix;
  const {env, envFrom} = copyEnvironment(pod, 'shop', false);
  t.deepEqual(envFrom, [{prefix: `${p}C_`, configMapRef: {name: 'c', optional: true}}]);
  t.deepEqual(env, [
    {name: `${p}A`, value: 'a'},
    {name: `${p}B`, value: `$(${p}A) $(${p}LATER) $$(A) $(DB_SERVICE_HOST)`},
    {name: `${p}LATER`, valueFrom: {secretKeyRef: {name: 's', key: 'k', optional: true}}},
    {name: `${p}NAME`, value: 'shop-1'},
    {name: `${p}APP`, value: 'shop'},
  ]);
  const same = copyEnvironment(pod, 'shop', true).env;
  t.deepEqual(same.at(3)?.valueFrom, {fieldRef: {fieldPath: 'metadata.name'}});
  t.deepEqual(same.at(5)?.valueFrom, {
    resourceFieldRef: {resource: 'limits.cpu', containerName: 'shop'},
  });
  t.is(fieldValue(pod, 'status.podIPs'), '10.0.0.1,fd00::1');
});

const place: AgentPlace = {
  mode: 'visiting',
  namespace: 'shop',
  name: 'j',
  container: 'mirrord-agent',
  image: 'agent:1',
  nodeName: 'node-1',
};

for (const [name, status, code] of [
  [
    'a full node, by the scheduler',
    {
      conditions: [
        {
          type: 'PodScheduled',
          status: 'False',
          reason: 'Unschedulable',
          message: '0/1 nodes are available: 1 Too many pods.',
        },
      ],
    },
    'MIRRORD_NODE_FULL',
  ],
  [
    'a full node, by the kubelet',
    {phase: 'Failed', reason: 'OutOfpods', message: 'Node did not have enough resource'},
    'MIRRORD_NODE_FULL',
  ],
  [
    'an eviction',
    {phase: 'Failed', reason: 'Evicted', message: 'low on memory'},
    'MIRRORD_AGENT_CONTAINER_FAILED',
  ],
  [
    'a container that can’t be made',
    {
      containerStatuses: [
        {
          name: 'mirrord-agent',
          state: {waiting: {reason: 'CreateContainerConfigError', message: 'runAsNonRoot'}},
        },
      ],
    },
    'MIRRORD_AGENT_CONTAINER_FAILED',
  ],
  [
    'a container that is being made',
    {containerStatuses: [{name: 'mirrord-agent', state: {waiting: {reason: 'ContainerCreating'}}}]},
    undefined,
  ],
  [
    'a sidecar that waits',
    {containerStatuses: [{name: 'other', state: {waiting: {reason: 'ErrImagePull'}}}]},
    undefined,
  ],
] as [string, object, string | undefined][]) {
  test(`failure of a pod: ${name}`, (t) => {
    t.is(podFailure({status} as V1Pod, place)?.code, code);
  });
}

test('an agent without a target may wait for a node that comes', (t) => {
  const conditions = [{type: 'PodScheduled', status: 'False', reason: 'Unschedulable'}];
  t.is(podFailure({status: {conditions}}, {...place, mode: 'targetless'}), undefined);
});

test('the end of a container is told by its status, its reason and its last words', (t) => {
  const state = {terminated: {exitCode: 137, reason: 'OOMKilled', message: 'x\n'}};
  const status = {containerStatuses: [{name: 'a', state}]};
  t.is(containerEnd({status} as unknown as V1Pod, 'a'), 'status 137, OOMKilled: x');
});

test('what is missing without capabilities is one sentence, and nothing where nothing is', (t) => {
  t.is(missingAbilities('visiting', config), undefined);
  t.regex(
    missingAbilities('visiting', {...config, disabled_capabilities: ['NET_ADMIN']}) ?? '',
    /incoming traffic/,
  );
  t.is(
    missingAbilities('targetless', {...config, disabled_capabilities: ['NET_ADMIN']}),
    undefined,
  );
});
