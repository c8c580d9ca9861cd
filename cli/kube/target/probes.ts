/**
 * Which ports of a pod the kubelet probes, from the pod's specification: what a steal of the whole port takes
 * from the application, too. Probes by `exec` ask a program in the container, of which nothing is known here.
 */

import type {V1Container, V1HTTPGetAction, V1Pod, V1Probe} from '@kubernetes/client-node';
import {lastingContainers} from './containers.ts';

/** What follows when a probe fails. */
const consequences = {
  readiness: 'the pod gets no requests of its Services while it fails',
  liveness: 'the kubelet restarts the container when it fails',
  startup: 'the kubelet restarts the container when it fails',
} as const;

type Kind = keyof typeof consequences;

/** What the kubelet asks, where. */
interface Question {
  readonly port: unknown;
  readonly host: string | undefined;
  readonly words: string;
  /** Whether it says in a header that it is the kubelet's, which a filter can see. */
  readonly isNamed: boolean;
}

function httpWords({path = '/', scheme = 'HTTP'}: V1HTTPGetAction): string {
  return `${scheme === 'HTTPS' ? 'HTTPS ' : ''}GET ${path}`;
}

/** In the kubelet's order, of which it takes the first. */
function questionOf({httpGet, tcpSocket, grpc}: V1Probe): Question | undefined {
  if (httpGet) {
    const {port, host, scheme} = httpGet;
    return {port, host, words: httpWords(httpGet), isNamed: scheme !== 'HTTPS'};
  }
  if (tcpSocket) {
    const {port, host} = tcpSocket;
    return {port, host, words: 'a connection', isNamed: false};
  }
  if (grpc) return {port: grpc.port, host: undefined, words: 'gRPC', isNamed: true};
  return undefined;
}

/** A name is one of the container's own ports. */
function portNumber(port: unknown, {ports = []}: V1Container): number | undefined {
  const number = Number(port);
  if (Number.isInteger(number)) return number;
  return ports.find(({name}) => name === port)?.containerPort;
}

/** Of a host that is no address of the pod's, another machine is probed; of loopback, the node. */
function isOfPod(host: string | undefined, {status}: V1Pod): boolean {
  if (host === undefined || host === '') return true;
  return host === status?.podIP || (status?.podIPs ?? []).some(({ip}) => ip === host);
}

/** By port, what to tell who takes it from the application. */
export function probedPorts(pod: V1Pod): Map<number, string> {
  const found = new Map<number, {probes: string[]; isNamed: boolean}>();
  for (const container of lastingContainers(pod)) {
    for (const kind of Object.keys(consequences) as Kind[]) {
      const question = questionOf(container[`${kind}Probe`] ?? {});
      if (question === undefined || !isOfPod(question.host, pod)) continue;
      const port = portNumber(question.port, container);
      if (port === undefined) continue;
      const {probes = [], isNamed = true} = found.get(port) ?? {};
      const {words} = question;
      probes.push(`${kind} probe of container ${container.name} (${words}: ${consequences[kind]})`);
      found.set(port, {probes, isNamed: isNamed && question.isNamed});
    }
  }
  return new Map(
    [...found].map(([port, {probes, isNamed}]) => [port, warning(port, probes, isNamed)]),
  );
}

function warning(port: number, probes: readonly string[], isNamed: boolean): string {
  const remedy = isNamed
    ? 'to leave them to the application: feature.network.incoming.http_filter.header_filter "^User-Agent: (?!kube-probe)"'
    : 'to leave them to the application: steal by a filter (feature.network.incoming.http_filter), or mirror';
  return `port ${port} is stolen with the kubelet's probes of it, which the program is now to answer: ${probes.join('; ')}; ${remedy}`;
}
