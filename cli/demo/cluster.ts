/**
 * The running cluster: starts the pods, restarts those that end, and keeps rules and DNS records at what
 * is ready. It runs inside the node's namespaces.
 *
 * Theory of operation. A pod is wanted from `add` to `remove`. Its program is started, probed until it
 * answers, and is then ready: an endpoint of its services. When it ends by itself it stops being one; a
 * pod of the shop is started again, after a pause that doubles with each failure (CrashLoopBackOff), one
 * of `run` is over. Nothing is polled while all is well.
 */

import {join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {MirrordError} from '../../layer/errors.ts';
import {version} from '../version.ts';
import {domain, extraHosts, namespace, node, podAddresses, unreachable} from './addressing.ts';
import type {DemoStatus, ExtraPod, PodStatus, ServiceStatus} from './control.ts';
import type {DnsServer} from './dns-server.ts';
import type {NodeNetwork} from './node-network.ts';
import {Pod} from './pod.ts';
import {podEnvironment} from './pod-content.ts';
import type {PodSpec} from './pods.ts';
import {waitUntilReady} from './probe.ts';
import {kubeProxyRules} from './rules.ts';
import {endpointsOf, type ServiceSpec, services} from './services.ts';
import type {DemoPaths} from './state.ts';
import {makeZone} from './zone.ts';

/** A pod that isn't ready after this won't be, milliseconds. */
const readyTimeoutMs = 30_000;
/** The pause before a restart: the first, and the longest, milliseconds. */
const restartPause = {first: 500, longest: 30_000};
/** A pod that ran this long begins again with the first pause, milliseconds. */
const soundMs = 60_000;

/** A pod that is wanted. */
interface Member {
  spec: PodSpec;
  /** Started again when it ends by itself. */
  isRestarted: boolean;
  /** Its run, while there is one. */
  pod?: Pod;
  ready: boolean;
  restarts: number;
  /** Ends its waiting when it is no longer wanted. */
  wanted: AbortController;
  /** Resolves when it is over. */
  over: Promise<void>;
}

export interface ClusterParts {
  network: NodeNetwork;
  dns: DnsServer;
  paths: DemoPaths;
}

export class Cluster implements AsyncDisposable {
  #parts: ClusterParts;
  #members = new Map<string, Member>();
  /** Called when all pods are ready. */
  #waiting: (() => void)[] = [];

  constructor(parts: ClusterParts) {
    this.#parts = parts;
  }

  /** Starts a pod and waits until it is ready. Throws what keeps it from that; it isn't wanted then. */
  async add(spec: PodSpec, isRestarted = true): Promise<void> {
    const member: Member = {
      spec,
      isRestarted,
      ready: false,
      restarts: 0,
      wanted: new AbortController(),
      over: Promise.resolve(),
    };
    this.#members.set(spec.name, member);
    try {
      const pod = await this.#start(member);
      member.over = this.#keep(member, pod).catch((error: unknown) => console.error(error));
    } catch (error) {
      this.#members.delete(spec.name);
      throw error;
    }
  }

  /** Adds a pod that isn't part of the demo. Throws MIRRORD_DEMO_POD_EXISTS or …_POD_INVALID. */
  async run(extra: ExtraPod): Promise<PodStatus> {
    const {name, command} = extra;
    if (!/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(name) || command.length === 0) {
      throw new MirrordError('MIRRORD_DEMO_POD_INVALID', `"${name}" can't be a pod's name`, {
        hint: 'a name has lower-case letters, digits and "-"; a command is needed too',
      });
    }
    if (this.#members.has(name)) {
      throw new MirrordError('MIRRORD_DEMO_POD_EXISTS', `there is a pod ${name} already`, {
        hint: `end it: mirrord demo stop ${name}`,
      });
    }
    const rest = {app: name, env: {}, ports: [], root: 'host' as const};
    await this.add({...rest, ...extra, host: this.#freeHost()}, false);
    const status = this.status().pods.find((pod) => pod.name === name);
    if (status === undefined) {
      throw new MirrordError('MIRRORD_DEMO_POD_FAILED', `pod ${name} ended at once`, {
        hint: `see ${this.#logOf(name)}`,
      });
    }
    return status;
  }

  /** Ends a pod. Throws MIRRORD_TARGET_NOT_FOUND. */
  async remove(name: string): Promise<void> {
    const member = this.#members.get(name);
    if (member === undefined) {
      throw new MirrordError('MIRRORD_TARGET_NOT_FOUND', `there is no pod ${name}`);
    }
    this.#members.delete(name);
    await this.#end(member);
    this.#publish();
  }

  /** Makes rules and records follow what is ready. Called by itself after every change. */
  #publish(): void {
    const ready = [...this.#members.values()].filter((m) => m.ready).map(({spec}) => spec);
    const all = this.#services();
    this.#parts.network.loadRules(kubeProxyRules(all, ready));
    this.#parts.dns.setZone(makeZone(all, ready));
    if (ready.length < this.#members.size) return;
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  /** Resolves when all pods are ready, which a pod that fails again and again may never be. */
  async whenReady(): Promise<void> {
    if ([...this.#members.values()].every(({ready}) => ready)) return;
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  status(): Omit<DemoStatus, 'pid'> {
    const members = [...this.#members.values()];
    const ready = members.filter((member) => member.ready).map(({spec}) => spec);
    const search = [`${namespace}.svc.${domain}`, `svc.${domain}`, domain];
    return {
      running: true,
      version,
      pods: members.map(({spec, pod, restarts, ready: isReady}) => ({
        name: spec.name,
        app: spec.app,
        addresses: podAddresses(spec.host),
        pid: pod?.pid ?? 0,
        ready: isReady,
        restarts,
        ports: spec.ports,
        env: pod?.env ?? podEnvironment(spec, services),
      })),
      services: this.#services().map(
        (service): ServiceStatus => ({
          name: service.name,
          namespace: service.namespace,
          clusterIPs: service.clusterIPs,
          ports: service.ports,
          endpoints: endpointsOf(service, ready).flatMap(({v4, v6}) => [v4 ?? [], v6 ?? []].flat()),
          ...(service.externalName !== undefined && {externalName: service.externalName}),
        }),
      ),
      fixtures: unreachable.map(({name, host, does}) => ({
        name,
        does,
        addresses: podAddresses(host),
      })),
      dns: {address: node.dns, domain, search, malformed: this.#parts.dns.malformed},
      logs: this.#parts.paths.logs,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const members = [...this.#members.values()];
    this.#members.clear();
    await Promise.all(members.map((member) => this.#end(member)));
  }

  /** The services of the shop, and one for each pod of `run`, by which others find it. */
  #services(): readonly ServiceSpec[] {
    const extra = [...this.#members.values()].filter(({isRestarted}) => !isRestarted);
    const own = extra.map(
      ({spec}): ServiceSpec => ({
        name: spec.name,
        namespace,
        clusterIPs: [],
        ports: spec.ports.map((port) => ({...port, targetPort: port.port})),
        selector: spec.app,
      }),
    );
    const taken = new Set(services.map(({name}) => name));
    return [...services, ...own.filter(({name}) => !taken.has(name))];
  }

  #logOf(name: string): string {
    return join(this.#parts.paths.logs, `${name}.log`);
  }

  #freeHost(): number {
    const taken = new Set([...this.#members.values()].map(({spec}) => spec.host));
    for (let host = extraHosts.first; host <= extraHosts.last; host++) {
      if (!taken.has(host)) return host;
    }
    throw new MirrordError('MIRRORD_DEMO_FULL', 'the demo has no address left for a pod');
  }

  /** Starts a member's program and waits for it to be ready, or to end. */
  async #start(member: Member): Promise<Pod> {
    const {spec, wanted} = member;
    const {network, paths} = this.#parts;
    wanted.signal.throwIfAborted();
    const gone = new AbortController();
    const stop = (reason: string) => () => gone.abort(new Error(reason));
    const timer = setTimeout(stop('its ports stayed closed'), readyTimeoutMs);
    wanted.signal.addEventListener('abort', stop('it was ended'), {signal: gone.signal});
    try {
      const pod = new Pod(spec, network, {log: this.#logOf(spec.name), root: paths.root});
      member.pod = pod;
      void pod.ended.then(stop('it ended'));
      await waitUntilReady(spec, gone.signal);
      member.ready = true;
      this.#publish();
      return pod;
    } catch (cause) {
      const {pod} = member;
      delete member.pod;
      await pod?.[Symbol.asyncDispose]();
      throw new MirrordError(
        'MIRRORD_DEMO_POD_FAILED',
        `pod ${spec.name} didn't become ready: ${(cause as Error).message}`,
        {hint: `see ${this.#logOf(spec.name)}`, cause},
      );
    } finally {
      clearTimeout(timer);
    }
  }

  /** Restarts a member's program for as long as it is wanted. */
  async #keep(member: Member, first: Pod): Promise<void> {
    const {signal} = member.wanted;
    let pod: Pod | undefined = first;
    let pause = restartPause.first;
    while (!signal.aborted) {
      const startedAt = performance.now();
      await pod?.ended;
      delete member.pod;
      member.ready = false;
      if (signal.aborted) return;
      if (!member.isRestarted) this.#members.delete(member.spec.name);
      this.#publish();
      if (!member.isRestarted) return;
      if (performance.now() - startedAt > soundMs) pause = restartPause.first;
      await delay(pause, undefined, {signal}).catch(() => undefined);
      pause = Math.min(2 * pause, restartPause.longest);
      member.restarts++;
      pod = await this.#start(member).catch((error: Error) => {
        if (!signal.aborted) console.error(error.message);
        return undefined;
      });
    }
  }

  async #end(member: Member): Promise<void> {
    member.ready = false;
    member.wanted.abort();
    await member.pod?.[Symbol.asyncDispose]();
    await member.over;
  }
}
