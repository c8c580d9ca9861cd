import test from 'ava';
import type {KubePodTarget} from '../../../cli/kube/target/resolve.ts';
import {volumeMounts} from '../../../cli/kube/target/volume-mounts.ts';

const mount = (mountPath: string) => ({name: 'x', mountPath});
const pod = {
  spec: {
    containers: [
      {name: 'app', volumeMounts: [mount('/data/'), mount('/etc/app'), mount('/data'), mount('/')]},
      {name: 'other', volumeMounts: [mount('/other')]},
      {name: 'bare'},
    ],
    initContainers: [{name: 'side', restartPolicy: 'Always', volumeMounts: [mount('relative')]}],
  },
} as KubePodTarget['pod'];

const of = (containerName: string) =>
  volumeMounts({podName: 'p', containerName, pod} as KubePodTarget);

test("where volumes are mounted in the target's container", (t) => {
  t.deepEqual(of('app'), ['/data', '/etc/app']);
  t.deepEqual(of('bare'), []);
  t.deepEqual(of('side'), ['/relative'], 'the runtime takes it as absolute');
  t.deepEqual(volumeMounts({namespace: 'x'}), []);
});
