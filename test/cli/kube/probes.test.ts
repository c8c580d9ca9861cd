import type {V1Container, V1Pod} from '@kubernetes/client-node';
import test from 'ava';
import {probedPorts} from '../../../cli/kube/target/probes.ts';

/** What is said of each port of a pod with these containers. */
function said(containers: unknown[], initContainers: unknown[] = []): Record<string, string> {
  const pod = {
    spec: {containers, initContainers},
    status: {podIP: '10.0.0.7', podIPs: [{ip: '10.0.0.7'}, {ip: 'fd00::7'}]},
  } as V1Pod;
  return Object.fromEntries(probedPorts(pod));
}

function container(name: string, more: Partial<Record<keyof V1Container, unknown>>): unknown {
  return {name, ports: [{name: 'http', containerPort: 8080}], ...more};
}

test('each kind of probe is told with what follows when it fails', (t) => {
  const httpGet = {port: 80, path: '/healthz'};
  const {80: text} = said([
    container('app', {
      readinessProbe: {httpGet},
      livenessProbe: {httpGet: {port: 80}},
      startupProbe: {grpc: {port: 80}},
    }),
  ]);
  t.regex(text ?? '', /readiness probe of container app \(GET \/healthz: the pod gets no requests/);
  t.regex(text ?? '', /liveness probe of container app \(GET \/: the kubelet restarts/);
  t.regex(text ?? '', /startup probe of container app \(gRPC: /);
  t.regex(text ?? '', /"\^User-Agent: \(\?!kube-probe\)"$/);
});

test('a named port is one of the probed container', (t) => {
  const probe = {readinessProbe: {tcpSocket: {port: 'http'}}};
  const ports = said([
    container('app', probe),
    container('side', {...probe, ports: [{name: 'http', containerPort: 9090}]}),
    container('nameless', {...probe, ports: undefined}),
  ]);
  t.deepEqual(Object.keys(ports), ['8080', '9090']);
  t.regex(ports['9090'] ?? '', /container side \(a connection/);
});

test('a sidecar among the init containers is probed; one that ends is not', (t) => {
  const livenessProbe = {httpGet: {port: '15021', scheme: 'HTTPS'}};
  const ports = said(
    [],
    [
      container('proxy', {restartPolicy: 'Always', livenessProbe}),
      container('migrate', {livenessProbe: {httpGet: {port: 1}}}),
    ],
  );
  t.deepEqual(Object.keys(ports), ['15021']);
  t.regex(ports['15021'] ?? '', /HTTPS GET \/:/);
  t.notRegex(ports['15021'] ?? '', /kube-probe/, 'no filter sees into TLS');
});

test('what is asked of another host, or of a program, concerns no port of the pod', (t) => {
  const ask = (host: string, port: number) => ({readinessProbe: {httpGet: {host, port}}});
  const ports = said([
    container('other', ask('10.0.0.8', 81)),
    container('node', ask('127.0.0.1', 82)),
    container('six', ask('fd00::7', 83)),
    container('program', {readinessProbe: {exec: {command: ['curl', 'localhost:84']}}}),
  ]);
  t.deepEqual(Object.keys(ports), ['83']);
});
