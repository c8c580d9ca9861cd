/**
 * Incoming traffic: connections to the target's ports that come to the program, or whose copy does.
 *
 * Theory of operation. What the program listens on is looked at every 40 ms (`listeners/watch.ts`). Each port with a
 * listener, however many there are, is one subscription at the agent, for as long as there is one: several workers
 * on a port, or one on each family, are the kernel's business here as in the pod. A connection comes as a
 * stream that the agent opens, and is continued to the program (`incoming/delivery.ts`). When the program no longer
 * listens the stream is refused, and the agent leaves the connection to the application.
 *
 * Nothing is asked for ahead of time, and nothing for ports of mirrord's own or of a debugger.
 */

import type {HttpFilter} from '../tunnel/http-filter.ts';
import {
  type HttpParams,
  type InterceptEvent,
  type InterceptMode,
  type OnConcurrentSteal,
  subscribeIncoming,
} from '../tunnel/intercept.ts';
import {parseIncoming} from '../tunnel/messages.ts';
import type {Mux} from '../tunnel/mux.ts';
import type {MuxStream} from '../tunnel/types.ts';
import {MirrordError} from './errors.ts';
import {type DeliveryContext, deliver} from './incoming/delivery.ts';
import type {Listener} from './listeners/listener.ts';
import {watchListeners} from './listeners/watch.ts';
import type {Log} from './log.ts';
import type {PortRange} from './routing/options.ts';
import type {Launcher} from './sandbox/launcher.ts';

/** Ports at a time; more stay local, which is said once. */
const portLimit = 256;

/** What comes to the program. All numbers but the first of a mapping are the target's. */
export interface IncomingOptions {
  readonly mode: InterceptMode;
  /** The only ports; undefined: all that the program listens on. */
  readonly ports?: ReadonlySet<number>;
  readonly ignorePorts: ReadonlySet<number>;
  /** From a port of the program's to the target's that it stands for. */
  readonly portMapping: ReadonlyMap<number, number>;
  /** Listeners on loopback alone stay local. */
  readonly ignoreLocalhost: boolean;
  readonly onConcurrentSteal: OnConcurrentSteal;
  /** Of a stolen port, connections that stand already are cut. */
  readonly flushConnections?: boolean;
  /** Only these requests, of `filterPorts`, or of all ports where that is undefined. */
  readonly filter?: HttpFilter;
  readonly filterPorts?: ReadonlySet<number>;
  readonly http?: HttpParams;
  /** By port of the target: what to say when all of it is stolen. */
  readonly stealWarnings?: ReadonlyMap<number, string>;
  /** Never asked for. */
  readonly debuggerPorts: readonly PortRange[];
}

/** Of the sandbox, what incoming traffic needs. */
export interface IncomingContext extends DeliveryContext {
  readonly launcher: Launcher;
  readonly mux: Mux;
  /** Whether a listening socket is mirrord's own. */
  readonly isOurs: (listener: Listener) => boolean;
  readonly warn: (message: string) => void;
  readonly log: Log;
}

export interface Incoming extends Disposable {
  /** Resolves when the program can't go on without the traffic that it wants; else never. */
  readonly failed: Promise<MirrordError>;
  /** Takes a stream that the agent opens. */
  onStream(stream: MuxStream, body: Uint8Array): void;
  readonly counters: {
    readonly delivered: number;
    readonly unknown: number;
    readonly failed: number;
  };
}

/** A port of the program's and its subscription. */
interface Subscription {
  readonly id: number;
  readonly port: number;
  readonly targetPort: number;
  call: MuxStream | undefined;
}

/** The ports to subscribe to: the program's, with the target's that each stands for. */
export function wantedPorts(
  listeners: readonly Listener[],
  options: Omit<IncomingOptions, 'mode' | 'onConcurrentSteal'>,
): Map<number, number> {
  const {ports, ignorePorts, portMapping, ignoreLocalhost, debuggerPorts} = options;
  const wanted = new Map<number, number>();
  for (const {address, port} of listeners) {
    const target = portMapping.get(port) ?? port;
    const isLocal = address.startsWith('127.') || address === '::1';
    const isDebugger = debuggerPorts.some(({first, last}) => port >= first && port <= last);
    if (port === 0 || isDebugger || (isLocal && ignoreLocalhost)) continue;
    if (ignorePorts.has(target) || ports?.has(target) === false) continue;
    wanted.set(port, target);
  }
  return wanted;
}

class IncomingTraffic implements Incoming {
  readonly counters = {delivered: 0, unknown: 0, failed: 0};
  readonly failed: Promise<MirrordError>;
  readonly #fail: (error: MirrordError) => void;
  readonly #context: IncomingContext;
  readonly #options: IncomingOptions;
  /** By the program's port. */
  readonly #subscriptions = new Map<number, Subscription>();
  readonly #said = new Set<string>();
  readonly #watch: Disposable;
  #nextId = 1;

  constructor(context: IncomingContext, options: IncomingOptions) {
    this.#context = context;
    this.#options = options;
    ({promise: this.failed, resolve: this.#fail} = Promise.withResolvers<MirrordError>());
    const {launcher, isOurs, log} = context;
    this.#watch = watchListeners(
      launcher,
      async (listeners) => this.#follow(listeners.filter((listener) => !isOurs(listener))),
      log,
    );
  }

  onStream(stream: MuxStream, body: Uint8Array): void {
    const incoming = parseIncoming(body);
    const subscription = this.#subscriptions.values().find(({id}) => id === incoming.subscription);
    if (subscription === undefined || stream.kind !== 'tcp') {
      this.counters.unknown++;
      stream.refuse('ECONNREFUSED');
      return;
    }
    this.counters.delivered++;
    deliver(stream, this.#context, {
      ...incoming,
      port: subscription.port,
      isCopy: this.#options.mode === 'mirror',
      onFailed: () => this.counters.failed++,
    });
  }

  [Symbol.dispose](): void {
    this.#watch[Symbol.dispose]();
    for (const subscription of this.#subscriptions.values()) this.#giveBack(subscription);
  }

  /** Makes what is subscribed to equal to what is listened on. */
  #follow(listeners: readonly Listener[]): void {
    const wanted = wantedPorts(listeners, this.#options);
    for (const [port, subscription] of this.#subscriptions) {
      if (wanted.get(port) !== subscription.targetPort) this.#giveBack(subscription);
    }
    for (const [port, targetPort] of wanted) {
      if (this.#subscriptions.has(port)) continue;
      if (this.#subscriptions.size < portLimit) this.#subscribe(port, targetPort);
      else this.#warnOnce(`only ${portLimit} ports of the program get traffic of the target`);
    }
  }

  #subscribe(port: number, targetPort: number): void {
    const {mode, onConcurrentSteal, filter, filterPorts, http} = this.#options;
    const {flushConnections = false, stealWarnings} = this.#options;
    const isFiltered = filter !== undefined && filterPorts?.has(targetPort) !== false;
    const subscription: Subscription = {id: this.#nextId++, port, targetPort, call: undefined};
    this.#subscriptions.set(port, subscription);
    const params = {
      id: subscription.id,
      port: targetPort,
      mode,
      onConcurrentSteal,
      flushConnections,
      ...(isFiltered && {filter}),
      ...(http !== undefined && {http}),
    };
    const {mux, log} = this.#context;
    const warning = stealWarnings?.get(targetPort);
    if (warning !== undefined && mode === 'steal' && !isFiltered) this.#warnOnce(warning);
    log('incoming: subscribe', {port, targetPort, mode});
    subscription.call = subscribeIncoming(mux, params, {
      onEvent: (event) => this.#onEvent(subscription, event),
      onEnd: (errno) => {
        subscription.call = undefined;
        // The end of the whole tunnel is told elsewhere.
        if (errno === 'ENOSYS') this.#warnOnce('this agent is too old to take incoming traffic');
        log('incoming: subscription ended', {port, errno});
      },
    });
  }

  #giveBack({port, call}: Subscription): void {
    this.#subscriptions.delete(port);
    call?.reset('ECANCELED');
    this.#context.log('incoming: given back', {port});
  }

  #onEvent({port, targetPort}: Subscription, event: InterceptEvent): void {
    const {log, warn} = this.#context;
    log('incoming: event', {port, ...event});
    if (event.event === 'warning') this.#warnOnce(event.message);
    if (event.event !== 'failed') return;
    const {errno, message} = event;
    const {mode, onConcurrentSteal} = this.#options;
    const isTaken = errno === 'EADDRINUSE' || errno === 'EBUSY';
    if (isTaken && mode === 'steal' && onConcurrentSteal === 'abort') {
      this.#fail(
        new MirrordError('MIRRORD_PORT_TAKEN', `port ${targetPort} can't be stolen: ${message}`, {
          hint: 'wait for the other session to end, or steal by a filter (feature.network.incoming.http_filter), or say what to do (on_concurrent_steal)',
        }),
      );
    } else if (errno === 'EPERM') {
      this.#warnOnce(
        `no traffic of the target comes here: the agent may not change its network's rules (it lacks NET_ADMIN there)`,
      );
    } else {
      warn(`no traffic of the target's port ${targetPort} comes here: ${message}`);
    }
  }

  #warnOnce(message: string): void {
    if (this.#said.has(message)) return;
    this.#said.add(message);
    this.#context.warn(message);
  }
}

/** Lets traffic of the target come to the sandbox's program until it is disposed of. */
export function serveIncoming(context: IncomingContext, options: IncomingOptions): Incoming {
  return new IncomingTraffic(context, options);
}
