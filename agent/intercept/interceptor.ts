/**
 * Takes connections to the target's ports, and gives each to whom it belongs.
 *
 * Theory of operation. A port that somebody has subscribed to is redirected (`redirect.ts`) to one listener of
 * ours. Of each connection the kernel knows where it went, and the port tells what is to be done:
 *
 *     filtered subscriptions   the HTTP part divides it, request by request (`http/`)
 *     an unfiltered steal      it is the client's: a stream into the program (`tunnel-socket.ts`)
 *     else                     it is passed to the application at its original address, by a connection with a
 *                              mark that the rules let go; mirroring clients get a copy (`mirror.ts`)
 *
 * Mirrors without a filter are mostly none of this: their own agents copy packets (`capture/`), and redirect nothing.
 *
 * Harmless first: before the first byte is read, whatever fails (a client that refuses, is away or does not
 * answer in time) leads to the application. A port is asked for at connect time, so that connections outlive
 * the subscription that they came by. Above a number of connections nothing is redirected until there are
 * fewer: the application is then alone with its clients, as it was.
 *
 * Steals of a port: filtered ones are asked in their order. An unfiltered one is alone with the port, in
 * either order of arrival, unless `onConcurrentSteal` says otherwise: `override` ends the others, `continue`
 * waits behind them (asked last if it has no filter). Clients of other agents of the pod are clients like any
 * other (`peers/`).
 */

import {setTimeout as delay} from 'node:timers/promises';
import {type Accepted, type ListeningSocket, listen} from '../../sockets/listening.ts';
import {Passage} from '../../sockets/passage.ts';
import type {StreamSocket} from '../../sockets/types.ts';
import type {InterceptEvent, InterceptParams} from '../../tunnel/intercept.ts';
import type {Log} from '../log.ts';
import {loadNative} from '../native.ts';
import {untilPodIsGone} from '../target/network.ts';
import {passageRoute} from './application.ts';
import {type Backend, RulesError} from './backend.ts';
import {findBackends} from './backends.ts';
import {Delivery, type RelayHttp} from './delivery.ts';
import {LettingGo} from './letting-go.ts';
import {Redirect} from './redirect.ts';
import {BYPASSED, SelfTest} from './self-test.ts';
import {isSending} from './sending.ts';
import {Standby} from './standby.ts';
import {lookAtStanding} from './standing-notice.ts';
import {
  type InterceptClient,
  type Standing,
  type Subscription,
  Subscriptions,
  warn,
} from './subscriptions.ts';

/** Redirected connections at a time, at which the redirect pauses, and below which it goes on. */
const PAUSE_AT = 4_096;
const GO_ON_AT = 3_072;
/** Those that still come are passed on; more than these are reset. */
const MOST_CONNECTIONS = 6_144;
/** A connection that nobody uses for so long is asked whether it is still there: the application can't see that any more. */
const KEEPALIVE_MS = 60_000;
/** How long the kernel's queue of accepted connections may take to reach us, ms. */
const BACKLOG_MS = 20;
/**
 * How long connections that were passed on may go on when the agent ends, ms. Pools let go of a connection after half an hour to
 * an hour, proxies of a stream after less: what is longer has to be able to begin anew. Somebody has to say when an agent
 * may be taken for forgotten.
 */
const LINGER_MS = 3_600_000;
/** How often it is looked whether the pod is gone meanwhile, or its kernel still has something to send, ms. */
const LOOK_MS = 10_000;
const LAST_BYTES_MS = 100;
/** How long the kernel may take for that, ms: whoever takes nothing for so long has gone. */
const MOST_LAST_BYTES_MS = 60_000;

export interface InterceptorOptions {
  /** 8 hexadecimal digits, this agent's own. */
  readonly id: string;
  readonly log: Log;
  /** The id of the agent whose subscriptions are taken over. */
  readonly predecessor?: string | undefined;
  /** Whether to redirect again after the rules have expired, since we were stopped. */
  readonly mayGoOn?: () => Promise<boolean>;
  /** By default what is found on this machine. */
  readonly backends?: readonly Backend[];
  readonly relayHttp?: RelayHttp;
  readonly clientTimeoutMs?: number;
  readonly lingerMs?: number;
}

export class Interceptor {
  readonly counters = {
    accepted: 0,
    stolen: 0,
    passed: 0,
    mirrored: 0,
    mirrorsCutOff: 0,
    handedToHttp: 0,
    clientsFailed: 0,
    applicationFailed: 0,
    cut: 0,
    strays: 0,
    overLimit: 0,
    withoutDescriptor: 0,
  };
  readonly #options: InterceptorOptions;
  readonly #subscriptions = new Subscriptions();
  readonly #delivery: Delivery;
  readonly #connections = new Set<StreamSocket>();
  readonly #lettingGo = new LettingGo();
  readonly #alone = Promise.withResolvers<void>();
  #started: Promise<Redirect> | undefined;
  #listening: ListeningSocket | undefined;
  #redirect: Redirect | undefined;
  #nextNumber = 1;
  #isPaused = false;
  #isClosed = false;
  #selfTest: SelfTest | undefined;
  #standby: Standby | undefined;

  constructor(options: InterceptorOptions) {
    this.#options = options;
    const {counters} = this;
    const [subscriptions, lettingGo] = [this.#subscriptions, this.#lettingGo];
    this.#delivery = new Delivery({...options, subscriptions, counters, lettingGo});
  }

  /** Our listener's port, which is no port of the target's; undefined while nothing was subscribed. */
  get port(): number | undefined {
    return this.#listening?.port;
  }

  /** Those that go through us now. */
  get connections(): number {
    return this.#connections.size;
  }

  /** Those of them that are waited for after `withdraw`. */
  get lingering(): number {
    return this.#lettingGo.isSaid ? this.#connections.size : 0;
  }

  /** Resolves with the port when the listener is there. */
  async ready(): Promise<number> {
    await this.#start();
    return this.port ?? 0;
  }

  /** Removes every rule of an agent that is gone. */
  async bury(id: string): Promise<void> {
    await (await this.#start()).bury(id);
  }

  /** Subscribes, and tells by events what comes of it; returns the end of it. */
  subscribe(
    params: InterceptParams,
    client: InterceptClient,
    onEvent: (event: InterceptEvent) => void,
    standing: Standing = {since: 0, isMoved: false, isCaptured: false},
  ): () => void {
    const subscription: Subscription = {
      ...standing,
      params,
      client,
      onEvent,
      number: this.#nextNumber++,
      warned: new Set(),
      awayUntil: 0,
    };
    void this.#begin(subscription);
    return () => this.#end(subscription);
  }

  /** Redirects nothing more, for good, while subscriptions move to another agent. */
  async yield(): Promise<void> {
    await this.#redirect?.withdraw();
  }

  /** Redirects nothing more, for good; resolves when new connections are the application's. */
  async withdraw(): Promise<void> {
    this.#subscriptions.clear();
    await this.#redirect?.withdraw();
    this.#lettingGo.say();
  }

  /**
   * After `withdraw`: resolves when everything that passes through us is over, or has had its time. `stay` is called if there is
   * anything; when what it returns resolves, it is to end.
   */
  async linger(stay = (): Promise<string> => new Promise(() => undefined)): Promise<void> {
    if (this.#redirect === undefined) return;
    // What the kernel has accepted for us by now is still to be passed on.
    await delay(BACKLOG_MS);
    const {log, lingerMs = LINGER_MS} = this.#options;
    const {size} = this.#connections;
    if (size > 0) {
      log.info('lingering', {connections: size});
      const over = new AbortController();
      const {signal} = over;
      const reason = await Promise.race([
        this.#alone.promise.then(() => 'they are over'),
        delay(lingerMs, 'they have had their time', {signal}),
        stay(),
        untilPodIsGone(LOOK_MS, signal).then(() => 'the pod is gone'),
      ]);
      over.abort();
      log.info('lingered', {reason, cut: this.#connections.size});
    }
    // By an end, not a reset: whoever is idle may just connect again. While there are rules, the others hear of it.
    for (const socket of this.#connections) socket.destroy();
    await this.#untilSent();
  }

  /** The kernel sends what was written after we have closed, but only our rules have it arrive. */
  async #untilSent(): Promise<void> {
    const endsAt = performance.now() + MOST_LAST_BYTES_MS;
    const isOver = (): boolean => this.#connections.size === 0 && !isSending(this.port ?? 0);
    while (!isOver() && performance.now() < endsAt) await delay(LAST_BYTES_MS);
  }

  /** Ends what is open, and then removes every rule, before it returns. What comes meanwhile is lost but after `withdraw`. */
  close(): void {
    this.#isClosed = true;
    this.#listening?.close();
    this.#subscriptions.clear();
    for (const socket of this.#connections) socket.destroy();
    this.#redirect?.close();
    this.#standby?.close();
  }

  // ---- subscriptions ----

  async #begin(subscription: Subscription): Promise<void> {
    const {params, onEvent} = subscription;
    const {port} = params;
    const fail = (errno: RulesError['code'] | 'EMFILE', message: string): void => {
      this.#remove(subscription);
      this.#options.log.info('no subscription', {port, errno, message});
      onEvent({event: 'failed', errno, message});
    };
    if (this.#subscriptions.isFull) return fail('EMFILE', 'too many subscriptions');
    const others = subscription.isMoved ? [] : this.#subscriptions.concurrent(params);
    if (others.length > 0 && params.onConcurrentSteal === 'abort') {
      return fail('EADDRINUSE', `another session steals port ${port}`);
    }
    if (params.onConcurrentSteal === 'override') for (const other of others) this.#override(other);
    this.#subscriptions.add(subscription);
    if (subscription.isCaptured) return onEvent({event: 'active'});
    try {
      const redirect = await this.#start();
      await redirect.add(port);
      if (!this.#subscriptions.needsRedirect(port)) void redirect.delete(port); // given back meanwhile
      if (!this.#subscriptions.has(subscription)) return;
      onEvent({event: 'active'});
      this.#options.log.info('subscribed', {port, mode: params.mode, by: redirect.backendName});
      this.#selfTest ??= new SelfTest(redirect);
      if (!(await this.#selfTest.passed)) warn(subscription, 'REDIRECT_BYPASSED', BYPASSED);
      else if (params.mode === 'steal' && this.#subscriptions.has(subscription)) {
        // Of one that has moved that was done where it came from.
        if (!subscription.isMoved) {
          lookAtStanding(subscription, {counters: this.counters, log: this.#options.log});
        }
      }
    } catch (error) {
      const {code, message} =
        error instanceof RulesError ? error : new RulesError('ENOTSUP', String(error));
      fail(code, message);
    }
  }

  #override(subscription: Subscription): void {
    this.#remove(subscription);
    const {port} = subscription.params;
    subscription.onEvent({
      event: 'failed',
      errno: 'EBUSY',
      message: `another session has taken port ${port} over`,
    });
  }

  #end(subscription: Subscription): void {
    if (this.#remove(subscription) && !subscription.isCaptured) {
      this.#options.log.info('unsubscribed', {port: subscription.params.port});
    }
  }

  /** Takes a subscription out, and lets its port go if it was the last. */
  #remove(subscription: Subscription): boolean {
    if (!this.#subscriptions.remove(subscription)) return false;
    const {port} = subscription.params;
    if (!this.#subscriptions.needsRedirect(port)) void this.#redirect?.delete(port);
    return true;
  }

  // ---- the listener ----

  #start(): Promise<Redirect> {
    this.#started ??= Promise.try(() => this.#listen());
    this.#started.catch(() => {
      this.#started = undefined; // the next one tries again
    });
    return this.#started;
  }

  #listen(): Redirect {
    const {log, id, backends = findBackends(id), predecessor, mayGoOn} = this.#options;
    loadNative();
    const listening = listen(KEEPALIVE_MS, {
      onAccepted: (accepted) => this.#onAccepted(accepted),
      onFailed: (error) => {
        if (this.counters.withoutDescriptor++ === 0)
          log.error('interceptor', {error: error.message});
      },
    });
    this.#listening = listening;
    const standby = new Standby(listening.descriptor, log);
    this.#standby = standby;
    this.#redirect = new Redirect({
      ...{to: listening.port, backends, predecessor, mayGoOn, log},
      isInUse: () => this.#connections.size > 0,
      isSending: () => isSending(listening.port),
      onLoaded: ({keeper}) => standby.tell(keeper),
    });
    if (this.#isClosed) this.close();
    return this.#redirect;
  }

  #onAccepted({socket, peer, destination}: Accepted): void {
    if (destination === undefined || destination.port === this.port) {
      // It was not redirected to us, or nobody knows any more from where.
      this.counters.strays++;
      socket.destroy(true);
      return;
    }
    if (this.#selfTest?.takes(destination.port) === true) {
      socket.destroy(true);
      return;
    }
    this.counters.accepted++;
    if (this.#connections.size >= MOST_CONNECTIONS) {
      this.counters.overLimit++;
      socket.destroy(true);
      return;
    }
    this.#connections.add(socket);
    socket.onClosed = () => this.#onClosed(socket);
    if (this.#connections.size >= PAUSE_AT && !this.#isPaused) this.#pause();
    const passage = new Passage(socket, passageRoute(destination, peer));
    this.#delivery.give({socket, passage, local: destination, peer}).catch((error) => {
      this.#options.log.error('bug', {error: String(error)});
      socket.destroy(true);
    });
  }

  #onClosed(socket: StreamSocket): void {
    this.#connections.delete(socket);
    if (this.#connections.size === 0) this.#redirect?.settle();
    if (this.#connections.size === 0 && this.#lettingGo.isSaid) this.#alone.resolve();
    if (!this.#isPaused || this.#connections.size > GO_ON_AT) return;
    this.#isPaused = false;
    this.#redirect?.resume();
  }

  #pause(): void {
    this.#isPaused = true;
    void this.#redirect?.pause();
    this.#options.log.warn('too many connections: redirecting pauses', {limit: PAUSE_AT});
    for (const subscription of this.#subscriptions.all()) {
      if (subscription.isCaptured) continue;
      warn(
        subscription,
        'TOO_MANY_CONNECTIONS',
        `more than ${PAUSE_AT} connections go through the agent: new ones reach the target only, until there are fewer`,
      );
    }
  }
}
