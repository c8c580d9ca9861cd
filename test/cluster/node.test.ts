import {execFileSync} from 'node:child_process';
import {copyFileSync, mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';
import ava from 'ava';
import {writeImage} from '../../scripts/lib/oci-image.ts';
import {clusterTest, useCluster} from '../helpers/cluster.ts';
import {waitFor} from '../helpers/e2e.ts';
import {signalGroup} from '../helpers/processes.ts';
import {ordinaryUser, runAsUser, userDirectory} from '../helpers/user.ts';

const test = clusterTest(ava);
const cluster = useCluster(test);

const inGateway = ['-n', 'demo', 'exec', 'deploy/gateway', '--'];
const workload = 'mirrord.test/workload:1';

/** A request from inside a pod. */
async function ask(...args: readonly string[]): Promise<Record<string, unknown>> {
  return JSON.parse(await cluster.kubectl([...inGateway, 'curl', '-sS', ...args]));
}

async function addressesOf(app: string): Promise<string[]> {
  const {items} = await cluster.get('-n', 'demo', 'pods', '-l', `app=${app}`);
  return items.map((pod: {status: {podIP: string}}) => pod.status.podIP).sort();
}

test('the node is Ready, and has ranges of both address families', async (t) => {
  const {items} = await cluster.get('nodes');
  t.is(items.length, 1);
  const {status, spec} = items[0];
  const ready = status.conditions.find((each: {type: string}) => each.type === 'Ready');
  t.is(ready.status, 'True');
  t.deepEqual(spec.podCIDRs, ['10.244.0.0/24', 'fd00:10:244::/64']);
});

test('a service answers by its name and by its ClusterIP, in both address families', async (t) => {
  const {spec} = await cluster.get('-n', 'demo', 'service', 'gateway');
  const [v4, v6] = spec.clusterIPs;
  for (const host of ['gateway', 'gateway.demo.svc.cluster.local', v4, `[${v6}]`]) {
    const {pod} = await ask('-g', `http://${host}/x`);
    t.regex(String(pod), /^gateway-/, host);
  }
  t.is((await ask('http://v6/'))['pod'], 'v6');
  t.truthy((await ask('http://alias/'))['pod']);
});

test('a pod that asks its own service is answered (hairpin), and the service behind it, too', async (t) => {
  const {orders} = await ask('http://gateway/');
  t.regex((orders as {pod: string}).pod, /^orders-/);
});

test('a headless service resolves to its pods, and SRV to their ports', async (t) => {
  const name = 'orders-headless.demo.svc.cluster.local';
  const dig = async (...args: string[]): Promise<string[]> =>
    (await cluster.kubectl([...inGateway, 'dig', '+short', ...args])).trim().split('\n').sort();
  const addresses = await addressesOf('orders');
  t.is(addresses.length, 2);
  t.deepEqual(await dig(name), addresses);
  const targets = addresses.map((each) => `${each.replaceAll('.', '-')}.${name}.`);
  t.deepEqual(
    await dig('SRV', `_http._tcp.${name}`),
    targets.map((each) => `0 50 8080 ${each}`),
  );
  t.deepEqual(await dig('redis-0.redis.demo.svc.cluster.local'), await addressesOf('redis'));
});

test('a service passes on datagrams', async (t) => {
  const program = `
    const socket = require('node:dgram').createSocket('udp4');
    const again = setInterval(() => socket.send('ping', 7, 'ledger'), 100);
    socket.once('message', (message) => {
      console.log(String(message));
      clearInterval(again);
      socket.close();
    });`;
  t.is(await cluster.kubectl([...inGateway, 'node', '-e', program]), 'ping\n');
});

test('what is not in the cluster is unreachable at once', async (t) => {
  const program = 'curl -sS http://192.0.2.1/; echo $?; curl -sS http://example.com/; echo $?';
  t.is(await cluster.kubectl([...inGateway, 'sh', '-c', program]), '7\n6\n');
});

test('a pod has variables of ConfigMaps, Secrets and its own fields', async (t) => {
  const text = await cluster.kubectl([...inGateway, 'env']);
  const env = Object.fromEntries(text.split('\n').map((line) => line.split(/=(.*)/s).slice(0, 2)));
  t.like(env, {
    GREETING: 'hello from the gateway',
    CONFIG_FEATURE_FLAGS: '{"newCheckout": true, "note": "quotes \\" and = signs"}',
    API_KEY: 'not-a-secret',
    UPSTREAM: 'http://orders/v1',
    POD_NAMESPACE: 'demo',
    NODE_NAME: 'node',
    MEMORY_LIMIT: String(256 * 1024 ** 2),
  });
  t.is(env['POD_IPS'].split(',').length, 2);
});

test('exec passes the standard input and the status', async (t) => {
  const target = ['-n', 'demo', 'exec', '-i', 'redis-0', '--'];
  t.is(await cluster.kubectl([...target, 'cat'], 'through'), 'through');
  await t.throwsAsync(cluster.kubectl([...target, 'sh', '-c', 'exit 7']), {message: /: 7\n/});
});

test('logs come from the container', async (t) => {
  t.regex(await cluster.kubectl(['-n', 'demo', 'logs', 'redis-0']), /Ready to accept connections/);
});

test("port-forward reaches a pod's loopback", async (t) => {
  const forward = cluster.start(['kubectl', '-n', 'demo', 'port-forward', 'pod/ledger', ':6379']);
  t.teardown(() => signalGroup(forward, 'SIGTERM'));
  let said = '';
  forward.stdout?.on('data', (text) => {
    said += text;
  });
  const port = await waitFor('port-forward', () => /127.0.0.1:(\d+) ->/.exec(said)?.[1]);
  // The sidecar, which listens on 127.0.0.1 only.
  t.is(execFileSync('redis-cli', ['-p', port, 'ping'], {encoding: 'utf8'}), 'PONG\n');
});

test('an ephemeral container sees the processes of its target', async (t) => {
  const name = `debug-${process.pid}`;
  const flags = [`--image=${workload}`, '--image-pull-policy=Never', '--target=ledger', '-c', name];
  const command = ['--', 'sh', '-c', 'cat /proc/1/cmdline'];
  await cluster.kubectl([
    '-n',
    'demo',
    'debug',
    'ledger',
    '--profile=general',
    ...flags,
    ...command,
  ]);
  const log = await waitFor('the ephemeral container', async () => {
    const {status} = await cluster.get('-n', 'demo', 'pod', 'ledger');
    const found = status.ephemeralContainerStatuses?.find(
      (each: {name: string; state: {terminated?: object}}) => each.name === name,
    );
    if (found?.state.terminated === undefined) return undefined;
    return await cluster.kubectl(['-n', 'demo', 'logs', 'ledger', '-c', name]);
  });
  t.is(log, 'node\0/app/servers/echo.ts\0');
});

test('a privileged pod with hostPID enters the network of another pod', async (t) => {
  const name = `privileged-${process.pid}`;
  const program = `
    for process in /proc/[0-9]*; do
      [ "$(cat $process/comm)" != redis-server ] || stat -L -c %i $process/ns/net
    done`;
  await cluster.apply({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {name, namespace: 'demo'},
    spec: {
      hostPID: true,
      restartPolicy: 'Never',
      containers: [
        {
          name,
          image: workload,
          command: ['sh', '-c', program],
          securityContext: {privileged: true},
        },
      ],
    },
  });
  const pod = ['-n', 'demo', `pod/${name}`];
  t.teardown(() => cluster.kubectl(['delete', ...pod, '--now']));
  await cluster.kubectl([
    'wait',
    ...pod,
    '--for=jsonpath={.status.phase}=Succeeded',
    '--timeout=60s',
  ]);
  const seen = (await cluster.kubectl(['-n', 'demo', 'logs', name])).trim().split('\n');
  const target = [
    '-n',
    'demo',
    'exec',
    'redis-0',
    '--',
    'stat',
    '-L',
    '-c',
    '%i',
    '/proc/1/ns/net',
  ];
  t.true(seen.includes((await cluster.kubectl(target)).trim()));
});

test('an ordinary user reaches the API server with the kubeconfig that it is given', async (t) => {
  using directory = userDirectory();
  const [program, config] = ['kubectl', 'config'].map((name) => join(directory.path, name));
  copyFileSync(join(dirname(await cluster.kubeconfig()), 'tools/kubectl'), program ?? '');
  const {uid, gid} = ordinaryUser();
  await cluster.giveKubeconfig(config ?? '', uid, gid);
  const argv = [
    program ?? '',
    `--kubeconfig=${config}`,
    '-n',
    'demo',
    'get',
    'pod',
    'v6',
    '-o',
    'name',
  ];
  const {status, stdout, stderr} = await runAsUser(argv, {env: {HOME: directory.path}});
  t.is(status, 0, stderr);
  t.is(stdout, 'pod/v6\n');
});

test('an account has no rights but those that it is given', async (t) => {
  const who = '--as=system:serviceaccount:demo:gateway';
  const may = (...args: string[]): Promise<string> => cluster.kubectl(['auth', 'can-i', ...args]);
  await t.throwsAsync(may('get', 'pods', '-n', 'demo', who), {message: /: 1\n/});
  t.is(await may('create', 'pods', '-n', 'demo'), 'yes\n');
});

test('Pod Security keeps a privileged pod out of a restricted namespace', async (t) => {
  const name = `restricted-${process.pid}`;
  await cluster.apply({
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: {name, labels: {'pod-security.kubernetes.io/enforce': 'restricted'}},
  });
  t.teardown(() => cluster.kubectl(['delete', 'namespace', name, '--wait=false']));
  const run = ['-n', name, 'run', 'privileged', `--image=${workload}`, '--privileged'];
  await t.throwsAsync(cluster.kubectl(run), {message: /violates PodSecurity "restricted/});
});

test('an image made of files runs; an upper layer hides a lower one', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'mirrord-image-'));
  t.teardown(() => rmSync(directory, {recursive: true}));
  const [source, program, file] = ['show.c', 'show', 'show.tar'].map((each) =>
    join(directory, each),
  );
  const code = `#include <stdio.h>
    int main(void) { char text[9] = ""; fread(text, 1, 8, fopen("/etc/message", "r")); puts(text); }`;
  writeFileSync(source ?? '', code);
  execFileSync('cc', ['-static', '-w', source ?? '', '-o', program ?? '']);
  const name = `show-${process.pid}`;
  const image = `mirrord.test/${name}:1`;
  writeImage(
    {
      name: image,
      layers: [
        [
          {path: '/bin/show', source: program ?? ''},
          {path: '/etc/message', content: 'lower'},
        ],
        [{path: '/etc/message', content: 'upper'}],
      ],
      config: {Entrypoint: ['/bin/show']},
    },
    file ?? '',
  );
  await cluster.loadImage(file ?? '');
  const pod = ['-n', 'demo', name];
  const flags = [`--image=${image}`, '--image-pull-policy=Never', '--restart=Never'];
  await cluster.kubectl(['run', ...pod, ...flags]);
  t.teardown(() => cluster.kubectl(['delete', 'pod', ...pod, '--now']));
  const phase = '--for=jsonpath={.status.phase}=Succeeded';
  await cluster.kubectl(['wait', '-n', 'demo', `pod/${name}`, phase, '--timeout=60s']);
  t.is(await cluster.kubectl(['logs', ...pod]), 'upper\n');
});
