import test from 'ava';
import {containerFiles, podEnvironment, resolvConf} from '../../cli/demo/pod-content.ts';
import {pods} from '../../cli/demo/pods.ts';
import {services} from '../../cli/demo/services.ts';

const [gateway] = pods;
if (gateway === undefined) throw new Error('no pods');

test('services appear in the environment as Kubernetes writes them', (t) => {
  t.like(podEnvironment(gateway, services), {
    ORDERS_SERVICE_HOST: '10.96.0.21',
    ORDERS_SERVICE_PORT: '80',
    ORDERS_SERVICE_PORT_HTTP: '80',
    ORDERS_PORT: 'tcp://10.96.0.21:80',
    ORDERS_PORT_80_TCP_ADDR: '10.96.0.21',
    ECHO_PORT_7_UDP: 'udp://10.96.0.22:7',
    V6_PORT: 'tcp://[fd00:10:96::24]:80',
    KUBERNETES_SERVICE_HOST: '10.96.0.1',
  });
});

test('headless services, aliases and other namespaces do not appear in it', (t) => {
  const names = Object.keys(podEnvironment(gateway, services)).join(' ');
  t.notRegex(names, /HEADLESS|SHOP|KUBE_DNS|BLACKHOLE/);
});

test('resolv.conf is what ClusterFirst makes', (t) => {
  t.is(
    resolvConf,
    'nameserver 10.96.0.10\nsearch default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n',
  );
});

test('the user of a pod has a name', (t) => {
  t.regex(containerFiles(gateway, 1234, 99)['/etc/passwd'] ?? '', /^app:x:1234:99:/m);
  t.is(containerFiles(gateway, 0, 0)['/etc/passwd'], 'root:x:0:0:root:/root:/bin/sh\n');
});

test('a pod’s own files win over those that all have', (t) => {
  t.regex(containerFiles(gateway, 0, 0)['/app/config.json'] ?? '', /upstream/);
});
