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

/** Asks the gateway by its Service, from a pod of another workload. */
async function ask(): Promise<string> {
  const script =
    "fetch('http://gateway/asked', {signal: AbortSignal.timeout(5000), headers: {connection: 'close'}})" +
    '.then((response) => response.text()).then(console.log, (error) => console.log(String(error)))';
  return await cluster.kubectl([
    '-n',
    'demo',
    'exec',
    'deployment/orders',
    '--',
    'node',
    '-e',
    script,
  ]);
}

async function addressesOf(app: string): Promise<string[]> {
  const {items} = await cluster.get('-n', 'demo', 'pods', '-l', `app=${app}`);
  return items.flatMap(({status}: {status: {podIPs: {ip: string}[]}}) =>
    status.podIPs.map(({ip}) => ip),
  );
}

/** Where the checkout is, is known once the world is open. */
const server = (): string[] => ['python3', world.program('incoming.py'), '80', '::'];

for (const [kind, more] of kinds) {
  const options = {target: 'deployment/gateway', flags: ['-n', 'demo', ...more]};

  test.serial(`by ${kind}: a Service's request is stolen, from its true client`, async (t) => {
    const env = {MIRRORD_AGENT_TCP_STEAL_TRAFFIC: 'true'};
    const running = world.startExec(server(), {...options, env});
    t.teardown(() => running.child.kill('SIGTERM'));
    await running.said(/listening\n/);
    const answer = await waitFor('the program to answer', async () => {
      const said = await ask();
      return said.startsWith('local') && said;
    });
    const [, client = '', own = ''] =
      /^local (?:::ffff:)?(\S+) \d+ at (?:::ffff:)?(\S+) 80 /.exec(answer) ?? [];
    t.true((await addressesOf('orders')).includes(client), `${client} asks`);
    t.true((await addressesOf('gateway')).includes(own), `${own} is asked`);
    running.child.stdin?.end();
    const {status, stderr} = await running.ended;
    t.is(status, 0, stderr);
    t.regex(stderr, /port 80 is stolen with the kubelet's probes.*readiness.*GET \/healthz/);
    await waitFor('the application to answer', async () =>
      (await ask()).includes('"path":"/asked"'),
    );
  });

  test.serial(`by ${kind}: a Service's request is mirrored`, async (t) => {
    const running = world.startExec(server(), options);
    t.teardown(() => running.child.kill('SIGTERM'));
    await running.said(/listening\n/);
    await waitFor('the program to get a copy', async () => {
      t.true((await ask()).includes('"path":"/asked"'), 'the application answers');
      return running.output.stdout.includes('got GET /asked');
    });
    running.child.stdin?.end();
    const {status, stderr} = await running.ended;
    t.is(status, 0, stderr);
    t.notRegex(stderr, /probe/, 'the application answers them');
  });
}
