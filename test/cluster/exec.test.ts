import ava from 'ava';
import {clusterTest, useCluster} from '../helpers/cluster.ts';
import {useClusterWorld} from '../helpers/cluster-world.ts';
import {waitFor} from '../helpers/e2e.ts';

const test = clusterTest(ava);
const cluster = useCluster(test);
const world = useClusterWorld(test, cluster);

const kinds = [
  ['a Job', []],
  ['an ephemeral container', ['--ephemeral-container']],
] as const;

async function podOf(app: string): Promise<{name: string; ips: string[]}> {
  const {items} = await cluster.get('-n', 'demo', 'pods', '-l', `app=${app}`);
  const {metadata, status} = items[0];
  return {name: metadata.name, ips: status.podIPs.map(({ip}: {ip: string}) => ip)};
}

async function agents(): Promise<unknown[]> {
  return (await cluster.get('-n', 'demo', 'jobs,pods', '-l', 'app=mirrord')).items;
}

async function noneLeft(): Promise<void> {
  await waitFor('no agent is left', async () => (await agents()).length === 0);
}

for (const [kind, more] of kinds) {
  const flags = ['-n', 'demo', ...more];
  const target = 'deployment/gateway';

  test.serial(`by ${kind}: name, addresses and environment are the pod's`, async (t) => {
    const {name, ips} = await podOf('gateway');
    const script =
      'hostname; printenv POD_NAME GREETING API_KEY; cat /proc/net/fib_trie /proc/net/if_inet6';
    const [host, podName, greeting, key, ...addresses] = (
      await world.exec(['sh', '-c', script], {target, flags})
    ).split('\n');
    t.deepEqual(
      [host, podName, greeting, key],
      [name, name, 'hello from the gateway', 'not-a-secret'],
    );
    t.true(addresses.join('\n').includes(ips[0] ?? ''));
    await noneLeft();
  });

  test.serial(
    `by ${kind}: services are reached by short names, from the pod's address`,
    async (t) => {
      const {ips} = await podOf('gateway');
      const answer = JSON.parse(
        await world.exec(['curl', '-sS4', 'http://orders/x'], {target, flags}),
      );
      t.is(answer.path, '/x');
      t.is(answer.client, ips[0]);
    },
  );

  test.serial(`by ${kind}: SRV records of a headless service, and IPv6`, async (t) => {
    const script = 'dig +short +search SRV _redis._tcp.redis; curl -sS6 http://v6/';
    const said = await world.exec(['sh', '-c', script], {target, flags});
    t.regex(said, /^0 \d+ 6379 .*redis\.demo\.svc\.cluster\.local\.$/m);
    t.regex(said, /"v6"/);
  });

  test.serial(`by ${kind}: the pod's localhost has a sidecar`, async (t) => {
    const options = {target: 'pod/ledger/container/ledger', flags};
    t.is(await world.exec(['redis-cli', '-h', '127.0.0.1', 'ping'], options), 'PONG\n');
  });

  test.serial(`by ${kind}: two sessions on one pod`, async (t) => {
    const hosts = await Promise.all(
      [1, 2].map(async () => await world.exec(['hostname'], {target, flags})),
    );
    t.is(hosts[0], hosts[1]);
  });

  test.serial(`by ${kind}: a pod that is deleted ends the program, and says so`, async (t) => {
    const pod = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: {name: 'mortal', namespace: 'demo'},
      spec: {
        terminationGracePeriodSeconds: 0,
        containers: [
          {name: 'mortal', image: 'mirrord.test/workload:1', command: ['sleep', '100000']},
        ],
      },
    };
    await cluster.apply(pod);
    await cluster.kubectl(['-n', 'demo', 'wait', '--for=condition=Ready', 'pod/mortal']);
    const running = world.startExec(['sh', '-c', 'echo up; exec sleep 1000'], {
      target: 'pod/mortal',
      flags,
    });
    await running.said(/up/);
    await cluster.kubectl(['-n', 'demo', 'delete', 'pod', 'mortal', '--wait=true']);
    const {status, stderr} = await running.ended;
    t.not(status, 0);
    t.regex(stderr, /MIRRORD_(TARGET|AGENT)_GONE|target.*(ended|gone)|agent.*(ended|gone)/);
    await noneLeft();
  });
}

test.serial('without a target: services by their names, from a pod of its own', async (t) => {
  const answer = JSON.parse(
    await world.exec(['curl', '-sS', 'http://orders/'], {
      target: 'targetless',
      flags: ['-n', 'demo'],
    }),
  );
  t.is(answer.headers.host, 'orders');
  await noneLeft();
});

test.serial(
  'Ctrl-C while the agent starts leaves nothing, and ends as a shell would say',
  async (t) => {
    const running = world.startExec(['true'], {
      target: 'deployment/gateway',
      flags: ['-n', 'demo'],
      env: {
        MIRRORD_AGENT_IMAGE: 'mirrord.test/agent:none',
        MIRRORD_AGENT_IMAGE_PULL_POLICY: 'Always',
      },
    });
    await waitFor('the Job is there', async () => (await agents()).length > 0);
    running.child.kill('SIGINT');
    t.not((await running.ended).status, 0);
    await noneLeft();
  },
);
