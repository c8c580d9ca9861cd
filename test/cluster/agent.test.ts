import {type ChildProcess, spawn} from 'node:child_process';
import {text} from 'node:stream/consumers';
import ava, {type ExecutionContext} from 'ava';
import {parseTargetPath} from '../../cli/config/target.ts';
import type {AgentConfig} from '../../cli/kube/agent/mode.ts';
import {checkRoom} from '../../cli/kube/agent/room.ts';
import {type KubeAgent, startKubeAgent} from '../../cli/kube/agent/start.ts';
import {type KubeClient, loadKubeClient} from '../../cli/kube/client.ts';
import {openPortForward} from '../../cli/kube/port-forward.ts';
import {resolveKubeTarget} from '../../cli/kube/target/resolve.ts';
import {type AgentLink, linkAgent} from '../../layer/agent-link.ts';
import {callPing, subscribeLifecycle} from '../../tunnel/target.ts';
import {dial, LOOPBACK4} from '../helpers/agent.ts';
import {useAgentImage} from '../helpers/agent-image.ts';
import {clusterTest, useCluster} from '../helpers/cluster.ts';
import {waitFor} from '../helpers/e2e.ts';

const test = clusterTest(ava);
const cluster = useCluster(test);
const image = useAgentImage(test, cluster);
const mirrord = new URL('../../bin/mirrord', import.meta.url).pathname;
const noCapabilities = {disabled_capabilities: ['SYS_ADMIN', 'SYS_PTRACE', 'NET_ADMIN']};

/** The `agent` block as the configuration gives it, with defaults. */
const defaults = {
  check_out_of_pods: true,
  disable_mesh_sidecar_injection: true,
  ephemeral: false,
  image,
  image_pull_policy: 'IfNotPresent',
  json_log: false,
  log_level: 'info',
  privileged: false,
  startup_timeout: 60,
  tolerations: [{operator: 'Exists'}],
  ttl: 1,
} as unknown as AgentConfig;

interface Start {
  target?: string;
  namespace?: string;
  agent?: Partial<AgentConfig>;
  signal?: AbortSignal;
  client?: KubeClient;
}

interface Started {
  agent: KubeAgent;
  warnings: string[];
}

async function admin(t: ExecutionContext): Promise<KubeClient> {
  const client = await loadKubeClient({kubeconfig: await cluster.kubeconfig()});
  t.teardown(() => client[Symbol.dispose]());
  return client;
}

/** Starts an agent, whatever has to be removed at the end of the test. */
async function start(t: ExecutionContext, options: Start = {}): Promise<Started> {
  const {target = 'deployment/gateway', namespace = 'demo'} = options;
  const client = options.client ?? (await admin(t));
  const warnings: string[] = [];
  const found = await resolveKubeTarget(client, parseTargetPath(target) as never, {namespace});
  const agent = await startKubeAgent(
    client,
    found,
    {...defaults, ...options.agent},
    {
      warn: (message) => warnings.push(message),
      ...(options.signal !== undefined && {signal: options.signal}),
    },
  );
  t.teardown(async () => await agent[Symbol.asyncDispose]());
  return {agent, warnings};
}

async function link(t: ExecutionContext, {agent}: Started): Promise<AgentLink> {
  const linked = await linkAgent(await agent.connect(), agent.token, new Promise(() => {}));
  t.teardown(() => linked[Symbol.dispose]());
  return linked;
}

interface Pod {
  metadata: {name: string; uid: string};
  status: {
    podIP: string;
    containerStatuses: {
      name: string;
      containerID: string;
      ready: boolean;
      restartCount: number;
    }[];
    ephemeralContainerStatuses?: {
      name: string;
      containerID?: string;
      state: {running?: object; terminated?: {exitCode: number; reason: string}};
    }[];
  };
}

async function podOf(app: string, namespace = 'demo'): Promise<Pod> {
  const {items} = await cluster.get('-n', namespace, 'pods', '-l', `app=${app}`);
  return items[0];
}

function plainId(id = ''): string {
  return id.replace(/^.*:\/\//, '');
}

/** Runs a script in the node, with the pid of a container's first process as $pid. */
async function inContainer(id: string | undefined, script: string): Promise<string> {
  const find = `pid=$(grep -l ${plainId(id)} /proc/[0-9]*/cgroup | sed 's/[^0-9]//g' | sort -n | head -1)`;
  return await cluster.command(['exec', 'sh', '-c', `${find}; ${script}`]);
}

/** Rules of the pod's own, as a mesh has them: what is compared must not be empty. */
const ownRules = 'table inet own { chain in { type filter hook input priority 0; accept; }; }';

/** Everything of a pod that a session must leave as it was. */
async function snapshot(app: string): Promise<unknown> {
  const {metadata, status} = await podOf(app);
  const containers = status.containerStatuses.map(({name, containerID, ready, restartCount}) => ({
    name,
    containerID,
    ready,
    restartCount,
  }));
  const nft = 'nsenter --net=/proc/$pid/ns/net nft';
  const id = status.containerStatuses[0]?.containerID;
  const rules = await inContainer(
    id,
    `${nft} list table inet own >/dev/null 2>&1 || ${nft} '${ownRules}'; ${nft} list ruleset`,
  );
  if (!rules.includes('table inet own')) throw new Error(`no rules of the pod: ${rules}`);
  return {uid: metadata.uid, containers, rules};
}

/** Waits until neither Jobs nor pods of agents are in a namespace. */
async function noneLeft(namespace = 'demo'): Promise<void> {
  await waitFor('no agent is left', async () => {
    const {items} = await cluster.get('-n', namespace, 'jobs,pods', '-l', 'app=mirrord');
    return items.length === 0;
  });
}

async function namespaceFor(t: ExecutionContext, name: string, labels = {}): Promise<void> {
  const metadata = {name, labels};
  await cluster.apply({apiVersion: 'v1', kind: 'Namespace', metadata});
  t.teardown(() => cluster.kubectl(['delete', 'namespace', name, '--wait=false']));
}

test.serial(
  'a Job works in the namespaces of its target, on the same node, and is gone afterwards',
  async (t) => {
    const before = await snapshot('gateway');
    const pod = await podOf('gateway');
    const started = await start(t);
    const {target} = await link(t, started);
    t.is(target.hostName, pod.metadata.name);
    const addresses = target.interfaces.flatMap(({addresses: all}) =>
      all.map(({address}) => address),
    );
    t.true(addresses.includes(pod.status.podIP));
    const {GREETING, API_KEY, POD_NAME, POD_IP, UPSTREAM} = target.environment;
    t.deepEqual(
      {GREETING, API_KEY, POD_NAME, POD_IP, UPSTREAM},
      {
        GREETING: 'hello from the gateway',
        API_KEY: 'not-a-secret',
        POD_NAME: pod.metadata.name,
        POD_IP: pod.status.podIP,
        UPSTREAM: 'http://orders/v1',
      },
    );
    t.regex(
      Buffer.from(target.files['/etc/resolv.conf'] ?? []).toString(),
      /demo\.svc\.cluster\.local/,
    );
    const objects = await cluster.kubectl(['-n', 'demo', 'get', 'jobs,pods', '-o', 'json']);
    t.false(objects.includes(started.agent.token), 'the token is not in the cluster');
    await started.agent[Symbol.asyncDispose]();
    await noneLeft();
    t.deepEqual(await snapshot('gateway'), before);
  },
);

test.serial('the image has nft and iptables, and no shell', async (t) => {
  const {agent} = await start(t, {target: 'targetless'});
  const run = async (...argv: string[]): Promise<string> =>
    await cluster.kubectl(['-n', 'demo', 'exec', agent.podName, '--', ...argv]);
  t.regex(await run('/usr/sbin/nft', '--version'), /^nftables v1/);
  t.regex(await run('/usr/sbin/iptables-nft', '--version'), /^iptables v1/);
  t.regex(await run('/usr/sbin/ip6tables-legacy', '--version'), /^ip6tables v1/);
  await t.throwsAsync(run('/bin/sh', '-c', 'true'));
});

test.serial(
  'an ephemeral container works in the pod, ends with its client, and restarts nothing',
  async (t) => {
    const before = await snapshot('gateway');
    const pod = await podOf('gateway');
    const started = await start(t, {agent: {ephemeral: true}});
    const linked = await link(t, started);
    t.is(linked.target.hostName, pod.metadata.name);
    t.is(linked.target.environment['MEMORY_LIMIT'], `${256 * 1024 ** 2}`);
    t.is(linked.target.environment['API_KEY'], 'not-a-secret');
    linked[Symbol.dispose]();
    t.regex(await started.agent.ended, /^status 0/);
    t.deepEqual(await snapshot('gateway'), before);
  },
);

/** TCP ports that something listens at in a container's network namespace, hexadecimal. */
async function listeningIn(id: string | undefined): Promise<string> {
  const columns = 'while read -r _ bound _ state _; do [ "$state" = 0A ] && echo "$bound"; done';
  return await inContainer(id, `cat /proc/$pid/net/tcp /proc/$pid/net/tcp6 | ${columns} | sort`);
}

test.serial(
  "metrics are to be had in the agent's own pod, by other pods and a port-forward, and not in the target's",
  async (t) => {
    const id = (await podOf('gateway')).status.containerStatuses[0]?.containerID;
    const before = await listeningIn(id);
    const client = await admin(t);
    const started = await start(t, {client, agent: {metrics: '0.0.0.0:9464'}});
    const {mux} = await link(t, started);
    await callPing(mux);
    const {podName, namespace} = started.agent;
    const {status} = await cluster.get('-n', namespace, 'pod', podName);
    const url = `http://${status.podIP}:9464/metrics`;
    const seen = await cluster.kubectl(['-n', 'demo', 'exec', 'ledger', '--', 'curl', '-sf', url]);
    t.regex(seen, /^mirrord_agent_clients_connected 1$/m);
    t.regex(seen, /^mirrord_agent_streams_total\{kind="call"\} [1-9]\d*$/m);
    const forwarded = await openPortForward(client, {namespace, pod: podName, port: 9464});
    forwarded.write('GET /metrics HTTP/1.1\r\nhost: agent\r\n\r\n');
    t.regex(await text(forwarded), /^HTTP\/1\.1 200 .*^mirrord_agent_build_info\{/ms);
    t.not(before, '');
    t.is(await listeningIn(id), before);
  },
);

test.serial(
  "an ephemeral agent's metrics are in the pod, and take none of its ports",
  async (t) => {
    const agent = {ephemeral: true, metrics: '[::]:9465'};
    await link(t, await start(t, {agent}));
    const url = `http://${(await podOf('gateway')).status.podIP}:9465/metrics`;
    const seen = await cluster.kubectl(['-n', 'demo', 'exec', 'ledger', '--', 'curl', '-sf', url]);
    t.regex(seen, /^mirrord_agent_clients_connected 1$/m);
    const [{containerPort}] = (await cluster.get('-n', 'demo', 'deployment', 'gateway')).spec
      .template.spec.containers[0].ports;
    await t.throwsAsync(start(t, {agent: {...agent, metrics: `[::]:${containerPort}`}}), {
      code: 'MIRRORD_CONFIG_INVALID',
      message: /which is the target's/,
    });
  },
);

test.serial('two agents of both kinds serve one pod at a time', async (t) => {
  const links = await Promise.all(
    [{}, {ephemeral: true}].map(async (agent) => link(t, await start(t, {agent}))),
  );
  t.is(links[0]?.target.hostName, links[1]?.target.hostName);
});

test.serial('an agent reaches the localhost of a sidecar in its pod', async (t) => {
  for (const ephemeral of [false, true]) {
    const {mux} = await link(t, await start(t, {target: 'pod/ledger', agent: {ephemeral}}));
    const {stream, ear} = dial(mux, {address: LOOPBACK4, port: 6379});
    await ear.event('opened');
    stream.write(Buffer.from('PING\r\n'));
    await ear.until(() => ear.bytes.includes('+PONG'));
  }
  t.pass();
});

test.serial('an agent without a target is a pod of its own, as an ordinary user', async (t) => {
  const started = await start(t, {target: 'targetless'});
  const {target} = await link(t, started);
  t.is(target.hostName, started.agent.podName);
  t.true('GATEWAY_SERVICE_HOST' in target.environment);
  const {spec} = await cluster.get('-n', 'demo', 'pod', started.agent.podName);
  t.true(spec.containers[0].securityContext.runAsNonRoot);
  t.falsy(spec.hostPID);
});

test.serial(
  'without capabilities a Job works beside the pod, with its specified environment, and says what is missing',
  async (t) => {
    const {podName, ...started} = await start(t, {agent: noCapabilities}).then((one) => ({
      ...one,
      podName: one.agent.podName,
    }));
    const {target} = await link(t, started);
    t.is(target.hostName, podName);
    t.is(target.environment['API_KEY'], 'not-a-secret');
    t.is(
      target.environment['POD_IP'],
      (await podOf('gateway')).status.podIP,
      "the target's, not its own",
    );
    t.regex(started.warnings.join('\n'), /beside the target's pod.*do not/s);
  },
);

test.serial(
  'where Pod Security is restricted, agents without capabilities run, of both kinds and without a target',
  async (t) => {
    await namespaceFor(t, 'agent-strict', {'pod-security.kubernetes.io/enforce': 'restricted'});
    await cluster.apply({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: {name: 'plain', namespace: 'agent-strict'},
      spec: {
        terminationGracePeriodSeconds: 0,
        securityContext: {
          runAsUser: 1000,
          runAsNonRoot: true,
          seccompProfile: {type: 'RuntimeDefault'},
        },
        containers: [
          {
            name: 'plain',
            image: 'mirrord.test/workload:1',
            command: ['sleep', '100000'],
            env: [{name: 'WHO', value: 'plain'}],
            securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: ['ALL']}},
          },
        ],
      },
    });
    await cluster.kubectl(['-n', 'agent-strict', 'wait', '--for=condition=Ready', 'pod/plain']);
    const place = {namespace: 'agent-strict', target: 'pod/plain'};
    const inPod = await link(
      t,
      await start(t, {...place, agent: {...noCapabilities, ephemeral: true}}),
    );
    t.is(inPod.target.hostName, 'plain');
    t.is(inPod.target.environment['WHO'], 'plain');
    const beside = await link(t, await start(t, {...place, agent: noCapabilities}));
    t.is(beside.target.environment['WHO'], 'plain');
    await link(t, await start(t, {...place, target: 'targetless'}));
    for (const agent of [{}, {ephemeral: true}]) {
      const error = await t.throwsAsync(start(t, {...place, agent}), {
        code: 'MIRRORD_POD_SECURITY',
      });
      t.regex(
        error?.message ?? '',
        /level "restricted" of namespace agent-strict forbids the agent's/,
      );
    }
  },
);

for (const [name, options, code, message] of [
  [
    'a bad image',
    {agent: {image: 'mirrord.test/nowhere:1'}},
    'MIRRORD_AGENT_IMAGE_FAILED',
    /can't get the agent's image mirrord\.test\/nowhere:1: .*pull/,
  ],
  [
    'a bad image, ephemeral',
    {target: 'pod/ledger', agent: {image: 'mirrord.test/nowhere:1', ephemeral: true}},
    'MIRRORD_AGENT_IMAGE_FAILED',
    /mirrord\.test\/nowhere:1/,
  ],
  ['no image', {agent: {image: undefined as never}}, 'MIRRORD_AGENT_IMAGE_MISSING', /not named/],
  [
    'an image of something else',
    {agent: {image: 'mirrord.test/workload:1'}},
    'MIRRORD_AGENT_FAILED',
    /ended before it was ready: .*--listen/,
  ],
  [
    'more than the node has',
    {agent: {resources: {requests: {cpu: '100'}}}},
    'MIRRORD_AGENT_UNSCHEDULABLE',
    /on node node: .*Insufficient cpu/,
  ],
  [
    'a namespace that is not there',
    {agent: {namespace: 'agent-nowhere'}},
    'MIRRORD_KUBE_NOT_FOUND',
    /agent-nowhere/,
  ],
  [
    'a service account that is not there',
    {agent: {service_account: 'nobody'}},
    'MIRRORD_AGENT_REFUSED',
    /service account|serviceaccount/,
  ],
  [
    'no time',
    {target: 'targetless', agent: {startup_timeout: 1, resources: {requests: {cpu: '100'}}}},
    'MIRRORD_AGENT_TIMEOUT',
    /not ready after 1 s: .*Insufficient cpu/,
  ],
] as [string, Start, string, RegExp][]) {
  // These wait for the cluster most of the time, and run side by side when the others are over.
  test(`${name}: ${code}, and nothing is left`, async (t) => {
    const error = await t.throwsAsync(start(t, options), {code});
    t.regex(error?.message ?? '', message);
    await noneLeft();
  });
}

test.serial('a quota without pods: MIRRORD_AGENT_QUOTA', async (t) => {
  await namespaceFor(t, 'agent-quota');
  await cluster.kubectl(['-n', 'agent-quota', 'create', 'quota', 'none', '--hard=pods=0']);
  const error = await t.throwsAsync(start(t, {agent: {namespace: 'agent-quota'}}), {
    code: 'MIRRORD_AGENT_QUOTA',
  });
  t.regex(error?.message ?? '', /no quota left for the agent's pod: .*exceeded quota: none/);
  await noneLeft('agent-quota');
});

test.serial(
  'a taint that is not tolerated: MIRRORD_AGENT_UNSCHEDULABLE; by default all are',
  async (t) => {
    const taint = 'mirrord.test/agent=no:NoSchedule';
    await cluster.kubectl(['taint', 'nodes', 'node', taint]);
    try {
      const error = await t.throwsAsync(start(t, {agent: {tolerations: []}}), {
        code: 'MIRRORD_AGENT_UNSCHEDULABLE',
      });
      t.regex(error?.message ?? '', /untolerated taint/);
      await link(t, await start(t));
    } finally {
      await cluster.kubectl(['taint', 'nodes', 'node', `${taint}-`]);
    }
  },
);

test.serial('a node with as many pods as it takes: MIRRORD_NODE_FULL', async (t) => {
  const client = await admin(t);
  const node = await cluster.get('node', 'node');
  await t.notThrowsAsync(checkRoom(client, node));
  node.status.allocatable.pods = '2';
  const error = await t.throwsAsync(checkRoom(client, node), {code: 'MIRRORD_NODE_FULL'});
  t.regex(error?.message ?? '', /it runs \d+ of at most 2 pods/);
});

test.serial('a start that is given up leaves nothing', async (t) => {
  const controller = new AbortController();
  const waiting = start(t, {
    target: 'targetless',
    agent: {resources: {requests: {cpu: '100'}}},
    signal: controller.signal,
  });
  await waitFor('the Job is there', async () => {
    const {items} = await cluster.get('-n', 'demo', 'jobs', '-l', 'app=mirrord');
    return items.length > 0;
  });
  controller.abort(new Error('given up'));
  await t.throwsAsync(waiting, {message: 'given up'});
  await noneLeft();
});

test.serial(
  "kill -9 of a Job's agent: the session hears of it, nothing is left, and the target is as it was",
  async (t) => {
    const before = await snapshot('gateway');
    const {agent} = await start(t);
    const {status} = await cluster.get('-n', 'demo', 'pod', agent.podName);
    await inContainer(status.containerStatuses[0].containerID, 'kill -9 $pid');
    t.regex(await agent.ended, /status 137|signal 9|deleted/);
    await noneLeft();
    t.deepEqual(await snapshot('gateway'), before);
  },
);

test.serial(
  'kill -9 of an ephemeral agent: the session hears of it, and the target is as it was',
  async (t) => {
    const before = await snapshot('gateway');
    const {agent} = await start(t, {agent: {ephemeral: true}});
    const {status} = await podOf('gateway');
    const own = status.ephemeralContainerStatuses?.find(({state}) => state.running !== undefined);
    await inContainer(own?.containerID ?? '', 'kill -9 $pid');
    t.regex(await agent.ended, /status 137|signal 9/);
    t.deepEqual(await snapshot('gateway'), before);
  },
);

test.serial('a target that is deleted ends the session of both kinds', async (t) => {
  await namespaceFor(t, 'agent-victim');
  for (const ephemeral of [false, true]) {
    await cluster.apply({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: {name: 'victim', namespace: 'agent-victim'},
      spec: {
        terminationGracePeriodSeconds: 0,
        containers: [
          {name: 'victim', image: 'mirrord.test/workload:1', command: ['sleep', '100000']},
        ],
      },
    });
    await cluster.kubectl(['-n', 'agent-victim', 'wait', '--for=condition=Ready', 'pod/victim']);
    const place = {namespace: 'agent-victim', target: 'pod/victim'};
    const started = await start(t, {...place, agent: {ephemeral}});
    const {mux, closed} = await link(t, started);
    const gone = Promise.withResolvers<string>();
    subscribeLifecycle(
      mux,
      ({event}) => gone.resolve(event),
      () => {},
    );
    await cluster.kubectl(['-n', 'agent-victim', 'delete', 'pod', 'victim', '--wait=true']);
    t.truthy(await Promise.race([gone.promise, closed, started.agent.ended]));
  }
});

/** Has `mirrord exec` run a program on the cluster, and waits until it runs. */
async function exec(t: ExecutionContext, env: Record<string, string> = {}): Promise<ChildProcess> {
  const script = 'curl -sf http://orders/ && echo up && exec sleep 1000';
  const program = ['-t', 'deployment/gateway', '-n', 'demo', '--', 'sh', '-c', script];
  const child = spawn(mirrord, ['exec', ...program], {
    env: {
      ...process.env,
      KUBECONFIG: await cluster.kubeconfig(),
      MIRRORD_AGENT_IMAGE: image,
      // What the agent waits for a client that was killed.
      MIRRORD_AGENT_RESUME_WINDOW: '5',
      ...env,
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  let said = '';
  child.stdout?.on('data', (text) => (said += text));
  await waitFor('the program runs', () => /up\n$/.test(said));
  return child;
}

test.serial(
  'SIGKILL of mirrord: agents of both kinds end by themselves, and the target is as it was',
  async (t) => {
    const before = await snapshot('gateway');
    const both = await Promise.all([exec(t), exec(t, {MIRRORD_EPHEMERAL_CONTAINER: 'true'})]);
    for (const child of both) child.kill('SIGKILL');
    await noneLeft();
    await waitFor('no agent runs in the pod', async () => {
      const {status} = await podOf('gateway');
      return (status.ephemeralContainerStatuses ?? []).every(
        ({state}) => state.running === undefined,
      );
    });
    t.deepEqual(await snapshot('gateway'), before);
  },
);
