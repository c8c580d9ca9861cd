import ava from 'ava';
import {parseTargetPath} from '../../cli/config/target.ts';
import type {KubeClient} from '../../cli/kube/client.ts';
import {
  type KubePodTarget,
  type KubeTarget,
  resolveKubeTarget,
} from '../../cli/kube/target/resolve.ts';
import type {ClusterTarget} from '../../cli/kube/target/workloads.ts';
import {clusterTest, useCluster} from '../helpers/cluster.ts';
import {idlePod, useNamespace} from '../helpers/kube.ts';

const test = clusterTest(ava);
const cluster = useCluster(test, {demo: false});
const namespace = useNamespace(test, cluster, 'targets');
let client: KubeClient;

const selector = (app: string) => ({matchLabels: {app}});
const template = (app: string, spec = idlePod()) => ({metadata: {labels: {app}}, spec});
const metadata = (name: string) => ({name});

/** Of every kind of target one, each with a pod. */
const workloads = [
  {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: metadata('web'),
    spec: {replicas: 2, selector: selector('web'), template: template('web')},
  },
  {
    apiVersion: 'apps/v1',
    kind: 'StatefulSet',
    metadata: metadata('store'),
    spec: {serviceName: 'store', selector: selector('store'), template: template('store')},
  },
  {
    apiVersion: 'apps/v1',
    kind: 'DaemonSet',
    metadata: metadata('watcher'),
    spec: {selector: selector('watcher'), template: template('watcher')},
  },
  {
    apiVersion: 'apps/v1',
    kind: 'ReplicaSet',
    metadata: metadata('copies'),
    spec: {selector: selector('copies'), template: template('copies')},
  },
  {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: metadata('once'),
    spec: {template: {spec: {...idlePod(), restartPolicy: 'Never'}}},
  },
  {
    apiVersion: 'batch/v1',
    kind: 'CronJob',
    metadata: metadata('nightly'),
    spec: {
      schedule: '0 0 1 1 *',
      jobTemplate: {spec: {template: {spec: {...idlePod(), restartPolicy: 'Never'}}}},
    },
  },
  {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: metadata('web'),
    spec: {selector: {app: 'web'}, ports: [{port: 80}]},
  },
  {apiVersion: 'v1', kind: 'Service', metadata: metadata('manual'), spec: {ports: [{port: 80}]}},
  {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: metadata('elsewhere'),
    spec: {type: 'ExternalName', externalName: 'example.test'},
  },
];

const rolloutKind = {
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: {name: 'rollouts.argoproj.io'},
  spec: {
    group: 'argoproj.io',
    scope: 'Namespaced',
    names: {kind: 'Rollout', plural: 'rollouts', singular: 'rollout'},
    versions: [
      {
        name: 'v1alpha1',
        served: true,
        storage: true,
        schema: {
          openAPIV3Schema: {type: 'object', 'x-kubernetes-preserve-unknown-fields': true},
        },
      },
    ],
  },
};

async function resolve(path: string): Promise<{target: KubeTarget; warnings: string[]}> {
  const warnings: string[] = [];
  const target = await resolveKubeTarget(client, parseTargetPath(path) as ClusterTarget, {
    namespace: namespace.name,
    warn: (message) => warnings.push(message),
  });
  return {target, warnings};
}

/** The labels of the pod that is chosen. */
async function chosen(path: string): Promise<Record<string, string>> {
  const {pod} = (await resolve(path)).target as KubePodTarget;
  return pod.metadata?.labels ?? {};
}

test.serial.before('the workloads run', async (t) => {
  t.timeout(300_000);
  client = await namespace.client();
  await namespace.apply(...workloads);
  await namespace.kubectl('create', 'job', 'nightly-now', '--from=cronjob/nightly');
  const limit = '--timeout=120s';
  for (const name of ['deployment/web', 'statefulset/store', 'daemonset/watcher']) {
    await namespace.kubectl('rollout', 'status', name, limit);
  }
  // `wait … pod --all` waits for those that there are: first, each job has made its own.
  for (const name of ['job/once', 'job/nightly-now']) {
    await namespace.kubectl('wait', '--for=jsonpath={.status.active}=1', name, limit);
  }
  await namespace.kubectl('wait', '--for=condition=Ready', 'pod', '--all', limit);
});

test.serial.after.always(() => client?.[Symbol.dispose]());

const owners: [path: string, labels: Record<string, string>][] = [
  ['deployment/web', {app: 'web'}],
  ['deploy/web', {app: 'web'}],
  ['statefulset/store', {app: 'store'}],
  ['daemonset/watcher', {app: 'watcher'}],
  ['replicaset/copies', {app: 'copies'}],
  ['job/once', {'batch.kubernetes.io/job-name': 'once'}],
  ['cronjob/nightly', {'batch.kubernetes.io/job-name': 'nightly-now'}],
  ['service/web', {app: 'web'}],
  ['label/app=store', {app: 'store'}],
  ['pod/store-0', {app: 'store'}],
];

for (const [path, labels] of owners) {
  test.serial(`${path} is a pod of it`, async (t) => {
    t.like(await chosen(path), labels);
  });
}

test.serial('the target has all that an agent needs to find the container', async (t) => {
  const {target, warnings} = await resolve('pod/store-0');
  const {status} = await cluster.get('-n', namespace.name, 'pod/store-0');
  const [{containerID}] = status.containerStatuses;
  t.like(target, {
    namespace: namespace.name,
    podName: 'store-0',
    nodeName: 'node',
    podIps: status.podIPs.map(({ip}: {ip: string}) => ip),
    containerName: 'app',
    runtime: 'containerd',
    containerId: containerID.replace('containerd://', ''),
  });
  t.deepEqual(warnings, []);
});

test.serial('of several ready pods one is chosen, which is told', async (t) => {
  const {target, warnings} = await resolve('deployment/web');
  t.is(warnings.length, 1);
  t.regex(warnings[0] ?? '', /^deployment\/web has 2 ready pods/);
  t.true(warnings[0]?.endsWith(target.podName ?? '-'));
});

test.serial(
  'a rollout has the pods of its selector, or of the deployment that it refers to',
  async (t) => {
    const missing = await t.throwsAsync(resolve('rollout/canary'));
    t.regex(missing?.message ?? '', /the cluster has no rollouts/);
    t.teardown(() => cluster.kubectl(['delete', 'crd', rolloutKind.metadata.name]));
    await cluster.apply(rolloutKind);
    await cluster.kubectl(['wait', '--for=condition=Established', 'crd/rollouts.argoproj.io']);
    const of = (name: string, spec: object) => ({
      apiVersion: 'argoproj.io/v1alpha1',
      kind: 'Rollout',
      metadata: metadata(name),
      spec,
    });
    await namespace.apply(
      of('canary', {selector: selector('copies')}),
      of('referring', {workloadRef: {apiVersion: 'apps/v1', kind: 'Deployment', name: 'web'}}),
    );
    t.like(await chosen('rollout/canary'), {app: 'copies'});
    t.like(await chosen('rollout/referring'), {app: 'web'});
  },
);

test.serial('a service without a selector has the pods of its endpoints', async (t) => {
  const {target} = await resolve('pod/store-0');
  const {podName, podIps} = target as KubePodTarget;
  await namespace.apply({
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {name: 'manual-1', labels: {'kubernetes.io/service-name': 'manual'}},
    addressType: 'IPv4',
    endpoints: [
      {addresses: [podIps[0]], targetRef: {kind: 'Pod', name: podName, namespace: namespace.name}},
    ],
    ports: [],
  });
  t.like(await chosen('service/manual'), {app: 'store'});
  const error = await t.throwsAsync(resolve('service/elsewhere'));
  t.like(error, {code: 'MIRRORD_TARGET_NOT_READY'});
});

test.serial('a cron job that has no job running says how to start one', async (t) => {
  await namespace.kubectl('create', 'cronjob', 'never', '--image=x', '--schedule=0 0 1 1 *');
  const error = await t.throwsAsync(resolve('cronjob/never'));
  t.like(error, {
    code: 'MIRRORD_TARGET_NOT_READY',
    hint: `start one: kubectl -n ${namespace.name} create job never-now --from=cronjob/never`,
  });
});

test.serial('what is not there is named, with its namespace', async (t) => {
  for (const path of ['pod/no', 'deployment/no', 'service/no', 'job/no']) {
    const error = await t.throwsAsync(resolve(path));
    t.like(error, {code: 'MIRRORD_TARGET_NOT_FOUND'});
    t.is(error?.message, `there is no ${path.replace('/', ' ')} in namespace ${namespace.name}`);
  }
});

test.serial('a workload without a ready pod says why of each', async (t) => {
  const container = {image: 'mirrord.test/no-such:1'};
  await namespace.apply({
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: metadata('broken'),
    spec: {selector: selector('broken'), template: template('broken', idlePod(container))},
  });
  const pod =
    (
      await namespace.kubectl(
        'wait',
        '--for=jsonpath={.status.containerStatuses[0].state.waiting}',
        'pod',
        '-l',
        'app=broken',
        '--timeout=60s',
      )
    )
      .split('/')[1]
      ?.split(' ')[0] ?? '';
  const error = await t.throwsAsync(resolve('deployment/broken'));
  t.like(error, {code: 'MIRRORD_TARGET_NOT_READY'});
  t.regex(
    error?.message ?? '',
    new RegExp(
      `no ready pod: ${pod} \\(Pending: (ErrImagePull|ImagePullBackOff|ContainerCreating)\\)`,
    ),
  );
});

test.serial('a pod that runs but is not ready can be named; the warning says so', async (t) => {
  const spec = idlePod({readinessProbe: {exec: {command: ['cat', '/no']}, periodSeconds: 1}});
  await namespace.apply({apiVersion: 'v1', kind: 'Pod', metadata: metadata('slow'), spec});
  await namespace.kubectl(
    'wait',
    '--for=jsonpath={.status.phase}=Running',
    'pod/slow',
    '--timeout=60s',
  );
  const {target, warnings} = await resolve('pod/slow');
  t.is(target.podName, 'slow');
  t.deepEqual(warnings, ['pod slow is not ready (app: not ready)']);
});

test.serial('a container is chosen by annotation, by name, and else guessed', async (t) => {
  const spec = {
    terminationGracePeriodSeconds: 0,
    containers: ['istio-proxy', 'one', 'two'].map((name) => ({
      name,
      image: 'mirrord.test/workload:1',
      command: ['sleep', 'infinity'],
    })),
  };
  const annotations = {'kubectl.kubernetes.io/default-container': 'two'};
  await namespace.apply(
    {apiVersion: 'v1', kind: 'Pod', metadata: metadata('several'), spec},
    {apiVersion: 'v1', kind: 'Pod', metadata: {name: 'annotated', annotations}, spec},
  );
  await namespace.kubectl(
    'wait',
    '--for=condition=Ready',
    'pod/several',
    'pod/annotated',
    '--timeout=60s',
  );
  const container = async (path: string) => {
    const {target, warnings} = await resolve(path);
    return [(target as KubePodTarget).containerName, warnings.length];
  };
  t.deepEqual(await container('pod/several'), ['one', 1]);
  t.deepEqual(await container('pod/annotated'), ['two', 0]);
  t.deepEqual(await container('pod/several/container/istio-proxy'), ['istio-proxy', 0]);
  const error = await t.throwsAsync(resolve('pod/several/container/three'));
  t.like(error, {
    code: 'MIRRORD_CONTAINER_NOT_FOUND',
    hint: 'its containers: istio-proxy, one, two',
  });
});
