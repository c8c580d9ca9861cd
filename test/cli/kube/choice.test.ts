import type {V1Pod} from '@kubernetes/client-node';
import test from 'ava';
import {isAvailable, podPaths} from '../../../cli/kube/list/targets.ts';
import {chooseContainer} from '../../../cli/kube/target/containers.ts';
import {byPreference, choosePod, whyNot} from '../../../cli/kube/target/pods.ts';
import {selectorQuery} from '../../../cli/kube/target/workloads.ts';

interface Shape {
  name?: string;
  containers?: string[];
  /** Init containers that last. */
  lasting?: string[];
  annotation?: string;
  phase?: string;
  ready?: boolean;
  deleted?: boolean;
  hash?: string;
  /** Seconds. */
  created?: number;
  waiting?: string;
}

function pod(shape: Shape = {}): V1Pod {
  const {name = 'p', containers = ['app'], lasting = [], phase = 'Running', ready = true} = shape;
  const state = shape.waiting === undefined ? {running: {}} : {waiting: {reason: shape.waiting}};
  const statuses = (names: string[]) => names.map((one) => ({name: one, ready, state}));
  // As JSON has it, where the library's types have Dates.
  return {
    metadata: {
      name,
      namespace: 'shop',
      creationTimestamp: new Date((shape.created ?? 0) * 1000).toISOString(),
      ...(shape.deleted === true && {deletionTimestamp: '2026-01-01T00:00:00Z'}),
      ...(shape.hash !== undefined && {labels: {'pod-template-hash': shape.hash}}),
      ...(shape.annotation !== undefined && {
        annotations: {'kubectl.kubernetes.io/default-container': shape.annotation},
      }),
    },
    spec: {
      containers: containers.map((one) => ({name: one})),
      initContainers: [
        {name: 'migrate'},
        ...lasting.map((one) => ({name: one, restartPolicy: 'Always'})),
      ],
    },
    status: {
      phase,
      containerStatuses: statuses(containers),
      initContainerStatuses: statuses(lasting),
    },
  } as unknown as V1Pod;
}

test('container: the only one is no guess', (t) => {
  t.deepEqual(chooseContainer(pod()), {name: 'app', isGuess: false});
});

test('container: the first that is no sidecar; of several it is a guess', (t) => {
  const meshed = pod({containers: ['istio-proxy', 'app']});
  t.deepEqual(chooseContainer(meshed), {name: 'app', isGuess: false});
  const several = pod({containers: ['istio-proxy', 'b', 'a']});
  t.deepEqual(chooseContainer(several), {name: 'b', isGuess: true});
});

test('container: the annotation decides, if it names one', (t) => {
  const several = {containers: ['a', 'b']};
  t.deepEqual(chooseContainer(pod({...several, annotation: 'b'})), {name: 'b', isGuess: false});
  t.deepEqual(chooseContainer(pod({...several, annotation: 'no'})), {name: 'a', isGuess: true});
});

test('container: the named one, which may be a sidecar of any kind, but must last', (t) => {
  const one = pod({containers: ['app', 'istio-proxy'], lasting: ['logger'], annotation: 'app'});
  t.is(chooseContainer(one, 'istio-proxy').name, 'istio-proxy');
  t.is(chooseContainer(one, 'logger').name, 'logger');
  const error = t.throws(() => chooseContainer(one, 'migrate'));
  t.like(error, {
    code: 'MIRRORD_CONTAINER_NOT_FOUND',
    hint: 'its containers: app, istio-proxy, logger',
  });
});

test('container: of nothing but sidecars the first', (t) => {
  t.is(chooseContainer(pod({containers: ['istio-proxy', 'vault-agent']})).name, 'istio-proxy');
});

const reasons: [Shape, string | undefined][] = [
  [{}, undefined],
  [{deleted: true}, 'Terminating'],
  [{phase: 'Pending', waiting: 'ImagePullBackOff'}, 'Pending: ImagePullBackOff'],
  [{phase: 'Failed'}, 'Failed'],
  [{waiting: 'CrashLoopBackOff'}, 'app: CrashLoopBackOff'],
  [{ready: false}, 'app: not ready'],
];

for (const [shape, reason] of reasons) {
  test(`pod: ${JSON.stringify(shape)} ${reason === undefined ? 'will do' : `won't do: ${reason}`}`, (t) => {
    t.is(whyNot(pod(shape)), reason);
  });
}

test('pod: that a sidecar is not ready is no obstacle', (t) => {
  const one = pod({containers: ['app', 'istio-proxy']});
  const statuses = one.status?.containerStatuses ?? [];
  (statuses[1] as {ready: boolean}).ready = false;
  t.is(whyNot(one), undefined);
  t.is(whyNot(one, 'istio-proxy'), 'istio-proxy: not ready');
});

test('pod: of the newest revision, and of that the oldest', (t) => {
  const all = [
    pod({name: 'old', hash: 'x', created: 10}),
    pod({name: 'newest', hash: 'y', created: 40}),
    pod({name: 'new', hash: 'y', created: 20}),
    pod({name: 'older', hash: 'x', created: 5}),
  ];
  const names = byPreference(all).map(({metadata}) => metadata?.name);
  t.deepEqual(names, ['new', 'newest', 'older', 'old']);
});

test('pod: one that will do is chosen among those that will not', (t) => {
  const all = [pod({name: 'a', deleted: true}), pod({name: 'b'}), pod({name: 'c', ready: false})];
  const {pod: chosen, ready} = choosePod(all, 'deployment/x');
  t.is(chosen.metadata?.name, 'b');
  t.is(ready, 1);
});

test('pod: where none will do, the error says why of each', (t) => {
  const all = [pod({name: 'a', waiting: 'CrashLoopBackOff'}), pod({name: 'b', deleted: true})];
  const error = t.throws(() => choosePod(all, 'deployment/x'));
  t.like(error, {
    code: 'MIRRORD_TARGET_NOT_READY',
    message: 'deployment/x has no ready pod: a (app: CrashLoopBackOff), b (Terminating)',
    hint: 'see why: kubectl -n shop describe pod a',
  });
  t.is(t.throws(() => choosePod([], 'job/x'))?.message, 'job/x has no pods');
});

test('a selector is written as a query', (t) => {
  const matchExpressions = [
    {key: 'a', operator: 'In', values: ['1', '2']},
    {key: 'b', operator: 'NotIn', values: ['3']},
    {key: 'c', operator: 'Exists'},
    {key: 'd', operator: 'DoesNotExist'},
  ];
  const query = selectorQuery({matchLabels: {app: 'x', tier: ''}, matchExpressions});
  t.is(query, 'app=x,tier=,a in (1,2),b notin (3),c,!d');
});

test('ls: a row of kubectl get says whether there is a ready pod', (t) => {
  t.true(isAvailable('deployment', {ready: '1/3'}));
  t.false(isAvailable('deployment', {ready: '0/3'}));
  t.true(isAvailable('daemonset', {ready: '2'}));
  t.true(isAvailable('cronjob', {active: '1'}));
  t.true(isAvailable('job', {status: 'Running'}));
  t.false(isAvailable('job', {status: 'Complete'}));
  t.false(isAvailable('service', {type: 'ExternalName', selector: '<none>'}));
  t.false(isAvailable('service', {type: 'ClusterIP', selector: '<none>'}));
  t.true(isAvailable('service', {type: 'ClusterIP', selector: 'app=x'}));
  t.true(isAvailable('pod', {status: 'Running', ready: '2/2'}));
  t.false(isAvailable('pod', {status: 'Running', ready: '1/2'}));
  t.false(isAvailable('pod', {status: 'Completed', ready: '0/1'}));
  t.false(isAvailable('pod', {status: 'Terminating', ready: '1/1'}));
});

test('ls: containers are named where a person would have to choose', (t) => {
  t.deepEqual(podPaths('p', ['a']), ['pod/p']);
  t.deepEqual(podPaths('p', ['a', 'b']), ['pod/p/container/a', 'pod/p/container/b']);
});
