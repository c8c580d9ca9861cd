import {writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import ava from 'ava';
import {apiPath, resources} from '../../cli/kube/path.ts';
import {clusterTest, useCluster} from '../helpers/cluster.ts';
import {idlePod, type KubeconfigFile, useNamespace} from '../helpers/kube.ts';
import {type Finished, ordinaryUser, runAsUser, userDirectory} from '../helpers/user.ts';

const test = clusterTest(ava);
const cluster = useCluster(test, {demo: false});
const namespace = useNamespace(test, cluster, 'ls');
const many = useNamespace(test, cluster, 'ls-many');
const mirrord = fileURLToPath(new URL('../../bin/mirrord', import.meta.url));
/** As many as a large cluster has. */
const podCount = 5_000;
const workers = 20;

/** Runs `mirrord ls` as an ordinary user who has this kubeconfig. */
async function ls(
  args: string[],
  {config, env = {}}: {config?: KubeconfigFile; env?: Record<string, string>} = {},
): Promise<Finished> {
  using home = userDirectory();
  const kubeconfig = join(home.path, 'kubeconfig');
  const {uid, gid} = ordinaryUser();
  await cluster.giveKubeconfig(kubeconfig, uid, gid);
  if (config !== undefined) writeFileSync(kubeconfig, JSON.stringify(config));
  const all = {HOME: home.path, XDG_RUNTIME_DIR: home.path, KUBECONFIG: kubeconfig, ...env};
  return await runAsUser([mirrord, 'ls', ...args], {env: all});
}

async function listed(args: string[], config?: KubeconfigFile): Promise<string[]> {
  const {status, stdout, stderr} = await ls(args, config && {config});
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout);
}

test.serial.before('there is something to list', async (t) => {
  t.timeout(200_000);
  const app = (name: string) => ({matchLabels: {app: name}});
  const of = (name: string, spec = idlePod()) => ({
    selector: app(name),
    template: {metadata: {labels: {app: name}}, spec},
  });
  const metadata = (name: string) => ({name});
  const several = {
    terminationGracePeriodSeconds: 0,
    containers: ['a', 'istio-proxy', 'b'].map((name) => ({
      name,
      image: 'mirrord.test/workload:1',
      command: ['sleep', 'infinity'],
    })),
  };
  await namespace.apply(
    {apiVersion: 'apps/v1', kind: 'Deployment', metadata: metadata('web'), spec: of('web')},
    {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: metadata('none'),
      spec: {...of('none'), replicas: 0},
    },
    {
      apiVersion: 'apps/v1',
      kind: 'StatefulSet',
      metadata: metadata('store'),
      spec: {...of('store'), serviceName: 'store'},
    },
    {apiVersion: 'apps/v1', kind: 'DaemonSet', metadata: metadata('watcher'), spec: of('watcher')},
    {
      apiVersion: 'batch/v1',
      kind: 'Job',
      metadata: metadata('once'),
      spec: {template: {spec: {...idlePod(), restartPolicy: 'Never'}}},
    },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: metadata('web'),
      spec: {selector: {app: 'web'}, ports: [{port: 80}]},
    },
    {apiVersion: 'v1', kind: 'Pod', metadata: metadata('several'), spec: several},
    {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: {name: 'agent', labels: {app: 'mirrord'}},
      spec: idlePod(),
    },
  );
  for (const name of ['deployment/web', 'statefulset/store', 'daemonset/watcher']) {
    await namespace.kubectl('rollout', 'status', name, '--timeout=120s');
  }
  await namespace.kubectl('wait', '--for=condition=Ready', 'pod', '--all', '--timeout=60s');
});

test.serial(
  'what has a ready pod is listed, in the order of mirrord; agents are not',
  async (t) => {
    const paths = await listed(['-n', namespace.name]);
    const plain = paths.map((path) => path.replace(/-[a-z0-9]{8,10}(-[a-z0-9]{5})?$/, '-…'));
    t.deepEqual(
      plain.map((path) => path.replace(/^(pod\/(once|watcher))-.*/, '$1-…')),
      [
        'deployment/web',
        'statefulset/store',
        'daemonset/watcher',
        'job/once',
        'service/web',
        'replicaset/web-…',
        'pod/once-…',
        'pod/several/container/a',
        'pod/several/container/b',
        'pod/store-0',
        'pod/watcher-…',
        'pod/web-…',
      ],
    );
  },
);

test.serial('-t lists some kinds', async (t) => {
  t.deepEqual(await listed(['-n', namespace.name, '-t', 'job', 'deployment']), [
    'deployment/web',
    'job/once',
  ]);
});

test.serial('the rich form has what is not available, and the namespaces', async (t) => {
  const env = {MIRRORD_LS_RICH_OUTPUT: 'true', MIRRORD_LS_TARGET_TYPES: '["deployment"]'};
  const {stdout} = await ls(['-n', namespace.name], {env});
  const {targets, current_namespace: current, namespaces} = JSON.parse(stdout);
  t.deepEqual(targets, [
    {path: 'deployment/none', available: false},
    {path: 'deployment/web', available: true},
  ]);
  t.is(current, namespace.name);
  t.true(namespaces.includes('kube-system') && namespaces.includes(namespace.name));
});

test.serial('who may list only pods sees pods, and but the own namespace', async (t) => {
  const config = await namespace.userConfig('narrow');
  const none = await ls([], {config});
  t.is(none.status, 1);
  t.regex(none.stderr, /MIRRORD_KUBE_FORBIDDEN/);
  await namespace.kubectl('create', 'role', 'narrow', '--verb=get,list', '--resource=pods');
  const account = `--serviceaccount=${namespace.name}:narrow`;
  await namespace.kubectl('create', 'rolebinding', 'narrow', '--role=narrow', account);
  const paths = await listed([], config);
  t.true(paths.includes('pod/store-0'));
  t.true(paths.every((path) => path.startsWith('pod/')));
  const {stdout} = await ls([], {config, env: {MIRRORD_LS_RICH_OUTPUT: 'true'}});
  t.deepEqual(JSON.parse(stdout).namespaces, [namespace.name]);
});

test.serial('without a kubeconfig nothing is asked for', async (t) => {
  const {status, stdout, stderr} = await ls([], {env: {KUBECONFIG: '/nowhere'}});
  t.deepEqual({status, stdout, stderr}, {status: 0, stdout: '[]\n', stderr: ''});
});

/** Runs `work` for each number below `end`, several at a time. */
async function each(end: number, work: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < end) {
      next += 1;
      await work(next - 1);
    }
  };
  await Promise.all(Array.from({length: workers}, worker));
}

test.serial(`${podCount} pods are listed, all of them`, async (t) => {
  t.timeout(600_000);
  // A node that nobody is: its pods are what is said of them.
  using client = await many.client();
  const node = `fake-${many.name}`;
  await client.create(apiPath(resources.nodes), {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: {name: node},
    spec: {unschedulable: true},
  });
  t.teardown(() => cluster.kubectl(['delete', 'node', node]));
  const path = apiPath(resources.pods, {namespace: many.name});
  const name = (index: number) => `pod-${String(index).padStart(5, '0')}`;
  const container = {
    name: 'app',
    image: 'example.test/app:1',
    env: [{name: 'X', value: 'x'.repeat(4000)}],
  };
  const started = '2026-01-01T00:00:00Z';
  await each(podCount, async (index) => {
    await client.create(path, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: {name: name(index)},
      spec: {nodeName: node, containers: [container], tolerations: [{operator: 'Exists'}]},
    });
    await client.request({
      method: 'PATCH',
      path: `${path}/${name(index)}/status`,
      contentType: 'application/strategic-merge-patch+json',
      body: {
        status: {
          phase: 'Running',
          conditions: [{type: 'Ready', status: 'True'}],
          containerStatuses: [
            {
              name: 'app',
              image: container.image,
              imageID: 'x',
              ready: true,
              restartCount: 0,
              state: {running: {startedAt: started}},
            },
          ],
        },
      },
    });
  });
  const before = performance.now();
  const paths = await listed(['-n', many.name, '-t', 'pod']);
  t.log(`${podCount} pods in ${Math.round(performance.now() - before)} ms`);
  t.deepEqual(
    paths,
    Array.from({length: podCount}, (_, index) => `pod/${name(index)}`),
  );
  // No kubelet lets them go. One by one: all in one request may take longer than a request may.
  await each(podCount, (index) => client.remove(`${path}/${name(index)}`, {gracePeriodSeconds: 0}));
});
