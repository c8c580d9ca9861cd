/**
 * Takes connections to the target's ports, and gives each to whom it belongs.
 *
 * Theory of operation. A port that somebody has subscribed to is redirected (`redirect.ts`) to one listener of
 * ours. Of each connection the kernel knows where it went, and the port tells what is to be done:
 *
 *     filtered subscriptions   the HTTP part divides it, request by request (`http/`)
 *     an unfiltered steal      it is the client's: a stream into the program (`tunnel-duplex.ts`)
 *     else                     it is passed to the application at its original address, by a connection with a
 *                              mark that the rules let go; mirroring clients get a copy (`mirror.ts`)
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

import {once} from 'node:events';
import {type AddressInfo, createServer, type Server, type Socket} from 'node:net';
import type {Duplex} from 'node:stream';
import {formatAddress, parseAddress} from '../../sockets/address.ts';
import {socketOfDescriptor} from '../../sockets/connect.ts';
import {socketOf} from '../../sockets/of-stream.ts';
import type {InterceptEvent, InterceptParams} from '../../tunnel/intercept.ts';
import {emitIncoming, type TunnelEndpoint} from '../../tunnel/messages.ts';
import type {MuxStream, StreamHandler} from '../../tunnel/types.ts';
import {errnoOf} from '../errno.ts';
import type {Log} from '../log.ts';
import {loadNative, originalDestination} from '../native.ts';
import {connectToApplication} from './application.ts';
import {type Backend, RulesError} from './backend.ts';
import {findBackends} from './backends.ts';
import {
  HTTP_DEFAULTS,
  type HttpOptions,
  type HttpSubscription,
  type RedirectedConnection,
} from './http/types.ts';
import {abort, join} from './join.ts';
import {Mirror} from './mirror.ts';
import {pass} from './pass.ts';
import {Redirect} from './redirect.ts';
import {BYPASSED, SelfTest} from './self-test.ts';
import {cutStanding, standingConnections} from './standing.ts';
import {connectClient, type OpenToClient} from './tunnel-duplex.ts';

/** Redirected connections at a time, at which the redirect pauses, and below which it goes on. */
const PAUSE_AT = 4_096;
const GO_ON_AT = 3_072;
/** Those that still come are passed on; more than these are reset. */
const MOST_CONNECTIONS = 6_144;
/** Subscriptions at a time, of all clients. */
const MOST_SUBSCRIPTIONS = 1_024;
/** How long the kernel's queue of accepted connections may take to reach us, ms. */
const BACKLOG_MS = 20;
/** How long connections that were passed on may go on when the agent ends, ms: a request's time. */
const DRAIN_MS = 1_000;
/** How long a client may take to say whether its program takes a connection, ms. Then it is the application's. */
const CLIENT_TIMEOUT_MS = 5_000;
/** A client that did not answer is not asked again for so long, ms. */
const CLIENT_PAUSE_MS = 5_000;

/** Divides a connection by its requests: `http/`. */
export type RelayHttp = (connection: RedirectedConnection, options: HttpOptions) => Promise<void>;

/** A client's tunnel, as far as it matters here. */
export interface InterceptClient {
  /** Opens a stream of kind tcp. Throws when the tunnel is over. */
  open(body: Uint8Array, handler: StreamHandler): MuxStream;
  /** Whether there is no connection to it at the moment. */
  readonly isAway: boolean;
}

export interface InterceptorOptions {
  /** 8 hexadecimal digits, this agent's own. */
  readonly id: string;
  readonly log: Log;
  /** The id of the agent whose subscriptions are taken over. */
  readonly predecessor?: string | undefined;
  /** By default what is found on this machine. */
  readonly backends?: readonly Backend[];
  readonly relayHttp?: RelayHttp;
  readonly clientTimeoutMs?: number;
}

/** Where a subscription stands among others. */
export interface Standing {
  /** When it was made, by a clock that all agents of the pod have: who came first is asked first. */
  readonly since: number;
  /** An agent before this one has let it be beside the others. */
  readonly isMoved: boolean;
}

interface Subscription extends Standing {
  readonly params: InterceptParams;
  readonly client: InterceptClient;
  readonly onEvent: (event: InterceptEvent) => void;
  /** For the HTTP part, unique within the agent. */
  readonly number: number;
  /** What the client heard of already, by code. */
  readonly warned: Set<string>;
  /** Until when the client is not asked: performance.now(). */
  awayUntil: number;
}

/** A connection, with what is known of it. */
interface Incoming {
  readonly socket: Socket;
  readonly peer: TunnelEndpoint;
  readonly local: TunnelEndpoint;
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
  };
  readonly #options: InterceptorOptions;
  readonly #ports = new Map<number, Subscription[]>();
  readonly #connections = new Set<Socket>();
  #started: Promise<Redirect> | undefined;
  #server: Server | undefined;
  #redirect: Redirect | undefined;
  #nextNumber = 1;
  #isPaused = false;
  #isClosed = false;
  #selfTest: SelfTest | undefined;

  constructor(options: InterceptorOptions) {
    this.#options = options;
  }

  /** Our listener's port, which is no port of the target's; undefined while nothing was subscribed. */
  get port(): number | undefined {
    const address = this.#server?.address() as AddressInfo | null | undefined;
    return address?.port;
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
    standing: Standing = {since: 0, isMoved: false},
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

  /** Redirects nothing more; resolves when what was passed on is over, or has had its time. */
  async drain(): Promise<void> {
    if (this.#redirect === undefined) return;
    this.#ports.clear();
    await this.#redirect.pause();
    // What the kernel has accepted for us by now is still to be passed on.
    await new Promise((resolve) => setTimeout(resolve, BACKLOG_MS));
    const endsAt = performance.now() + DRAIN_MS;
    while (this.#connections.size > 0 && performance.now() < endsAt) {
      await new Promise((resolve) => setTimeout(resolve, BACKLOG_MS));
    }
  }

  /** Ends what is open, and then removes every rule, before it returns. */
  close(): void {
    this.#isClosed = true;
    this.#redirect?.stop();
    this.#server?.close();
    this.#ports.clear();
    // By an end, not a reset: whoever is idle may just connect again.
    for (const socket of this.#connections) socket.destroy();
    this.#redirect?.close();
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
    if (this.#count >= MOST_SUBSCRIPTIONS) return fail('EMFILE', 'too many subscriptions');
    const others = subscription.isMoved ? [] : this.#concurrent(params);
    if (others.length > 0 && params.onConcurrentSteal === 'abort') {
      return fail('EADDRINUSE', `another session steals port ${port}`);
    }
    if (params.onConcurrentSteal === 'override') for (const other of others) this.#override(other);
    const all = [...(this.#ports.get(port) ?? []), subscription];
    this.#ports.set(
      port,
      all.toSorted((one, other) => one.since - other.since),
    );
    try {
      const redirect = await this.#start();
      await redirect.add(port);
      if (!this.#ports.has(port)) void redirect.delete(port); // given back meanwhile
      if (!this.#isSubscribed(subscription)) return;
      onEvent({event: 'active'});
      this.#options.log.info('subscribed', {port, mode: params.mode, by: redirect.backendName});
      this.#selfTest ??= new SelfTest(redirect);
      if (!(await this.#selfTest.passed)) this.#warn(subscription, 'REDIRECT_BYPASSED', BYPASSED);
      else if (params.mode === 'steal' && this.#isSubscribed(subscription)) {
        // Of one that has moved that was done where it came from.
        if (!subscription.isMoved) this.#lookAtStanding(subscription);
      }
    } catch (error) {
      const {code, message} =
        error instanceof RulesError ? error : new RulesError('ENOTSUP', String(error));
      fail(code, message);
    }
  }

  /** Cuts connections to a stolen port that stand, or tells that they stay the application's. */
  #lookAtStanding(subscription: Subscription): void {
    const {port, flushConnections} = subscription.params;
    if (flushConnections === true) {
      const {count, failure} = cutStanding(port);
      this.counters.cut += count;
      this.#options.log.info('standing connections', {port, cut: count, failure});
      if (failure !== undefined) this.#warn(subscription, 'NOT_CUT', notCut(port, failure));
      return;
    }
    const count = countStanding(port);
    if (count > 0) this.#warn(subscription, 'STANDING_CONNECTIONS', standing(port, count));
  }

  /** The steals that `params` can't be beside. */
  #concurrent({port, mode, filter}: InterceptParams): Subscription[] {
    if (mode !== 'steal') return [];
    return (this.#ports.get(port) ?? []).filter(
      ({params}) =>
        params.mode === 'steal' && (filter === undefined || params.filter === undefined),
    );
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
    if (this.#remove(subscription)) {
      this.#options.log.info('unsubscribed', {port: subscription.params.port});
    }
  }

  /** Takes a subscription out, and lets its port go if it was the last. */
  #remove(subscription: Subscription): boolean {
    const {port} = subscription.params;
    const all = this.#ports.get(port) ?? [];
    const rest = all.filter((other) => other !== subscription);
    if (rest.length === all.length) return false;
    if (rest.length > 0) {
      this.#ports.set(port, rest);
    } else {
      this.#ports.delete(port);
      void this.#redirect?.delete(port);
    }
    return true;
  }

  #isSubscribed(subscription: Subscription): boolean {
    return this.#ports.get(subscription.params.port)?.includes(subscription) === true;
  }

  get #count(): number {
    return this.#ports.values().reduce((sum, all) => sum + all.length, 0);
  }

  #warn({warned, onEvent}: Subscription, code: string, message: string): void {
    if (warned.has(code)) return;
    warned.add(code);
    onEvent({event: 'warning', code, message});
  }

  // ---- the listener ----

  #start(): Promise<Redirect> {
    this.#started ??= this.#listen();
    this.#started.catch(() => {
      this.#started = undefined; // the next one tries again
    });
    return this.#started;
  }

  async #listen(): Promise<Redirect> {
    const {log, id, backends = findBackends(id), predecessor} = this.#options;
    loadNative();
    const options = {allowHalfOpen: true, pauseOnConnect: true, noDelay: true} as const;
    const server = createServer(options, (socket) => this.#onConnection(socket));
    server.on('error', (error) => log.error('interceptor', {error: error.message}));
    try {
      server.listen({port: 0, host: '::', backlog: 4_096});
      await once(server, 'listening');
    } catch {
      server.listen({port: 0, host: '0.0.0.0', backlog: 4_096}); // a pod without IPv6
      await once(server, 'listening');
    }
    this.#server = server;
    const isInUse = (): boolean => this.#connections.size > 0;
    this.#redirect = new Redirect({to: this.port ?? 0, backends, isInUse, predecessor, log});
    if (this.#isClosed) this.close();
    return this.#redirect;
  }

  #onConnection(socket: Socket): void {
    socket.on('error', () => undefined); // whoever joins it hears of it again
    const incoming = this.#look(socket);
    if (incoming === undefined) return;
    const {port} = incoming.local;
    if (this.#selfTest?.takes(port) === true) {
      abort(socket);
      return;
    }
    this.counters.accepted++;
    if (this.#connections.size >= MOST_CONNECTIONS) {
      this.counters.overLimit++;
      abort(socket);
      return;
    }
    this.#connections.add(socket);
    socket.once('close', () => this.#onClosed(socket));
    if (this.#connections.size >= PAUSE_AT && !this.#isPaused) this.#pause();
    this.#give(incoming).catch((error) => {
      this.#options.log.error('bug', {error: String(error)});
      abort(socket);
    });
  }

  #onClosed(socket: Socket): void {
    this.#connections.delete(socket);
    if (this.#connections.size === 0) this.#redirect?.settle();
    if (!this.#isPaused || this.#connections.size > GO_ON_AT) return;
    this.#isPaused = false;
    this.#redirect?.resume();
  }

  #pause(): void {
    this.#isPaused = true;
    void this.#redirect?.pause();
    this.#options.log.warn('too many connections: redirecting pauses', {limit: PAUSE_AT});
    for (const subscription of [...this.#ports.values()].flat()) {
      this.#warn(
        subscription,
        'TOO_MANY_CONNECTIONS',
        `more than ${PAUSE_AT} connections go through the agent: new ones reach the target only, until there are fewer`,
      );
    }
  }

  /** Finds out who wants to go where; undefined, and reset, if it was not redirected to us. */
  #look(socket: Socket): Incoming | undefined {
    try {
      const local = originalDestination(descriptorOf(socket));
      const address = parseAddress(socket.remoteAddress ?? '');
      if (local.port !== this.port && address !== undefined) {
        return {socket, local, peer: {address: unmapped(address), port: socket.remotePort ?? 0}};
      }
    } catch (error) {
      this.#options.log.debug('stray connection', {reason: errnoOf(error)});
    }
    this.counters.strays++;
    abort(socket);
    return undefined;
  }

  // ---- to whom it belongs ----

  async #give(incoming: Incoming): Promise<void> {
    const all = this.#ports.get(incoming.local.port) ?? [];
    const {relayHttp} = this.#options;
    if (relayHttp !== undefined && all.some(({params}) => params.filter !== undefined)) {
      this.counters.handedToHttp++;
      await relayHttp(this.#forHttp(incoming), httpOptions(all));
      return;
    }
    const unfiltered = all.filter(({params}) => params.filter === undefined);
    const owner = unfiltered.find(({params}) => params.mode === 'steal');
    const mirrors = unfiltered.filter(({params}) => params.mode === 'mirror');
    const program = owner && (await this.#connectProgram(owner, incoming));
    if (program !== undefined) this.counters.stolen++;
    if (program === undefined) {
      await this.#pass(incoming, mirrors);
      return;
    }
    this.#tee(incoming, mirrors);
    await join(incoming.socket, program);
  }

  /** To the application, with copies for who mirrors. */
  async #pass(incoming: Incoming, subscriptions: readonly Subscription[]): Promise<void> {
    const {socket} = incoming;
    const fd = this.#dialApplication(incoming);
    if (fd === undefined || socket.destroyed) {
      if (fd === undefined) this.counters.applicationFailed++;
      else socketOfDescriptor(fd).destroy();
      abort(socket);
      return;
    }
    this.counters.passed++;
    const application = socketOfDescriptor(fd);
    const {socket: client} = socketOf(socket, new Uint8Array(0), true);
    const mirrors = subscriptions
      .filter(({client}) => !client.isAway)
      .flatMap((subscription) => this.#mirror(subscription, incoming) ?? []);
    this.counters.mirrored += mirrors.length;
    await pass(client, application, mirrors);
    socket.destroy();
  }

  /** A connection into the client's program; undefined: it is the application's. */
  async #connectProgram(
    subscription: Subscription,
    incoming: Incoming,
  ): Promise<Duplex | undefined> {
    try {
      return await this.#connectClient(subscription, incoming);
    } catch {
      return undefined;
    }
  }

  async #connectClient(subscription: Subscription, incoming: Incoming): Promise<Duplex> {
    const {client} = subscription;
    if (client.isAway || subscription.awayUntil > performance.now()) {
      throw Object.assign(new Error('the client is away'), {code: 'EHOSTUNREACH'});
    }
    try {
      const timeoutMs = this.#options.clientTimeoutMs ?? CLIENT_TIMEOUT_MS;
      return await connectClient(opener(subscription, incoming), timeoutMs);
    } catch (error) {
      this.counters.clientsFailed++;
      if (errnoOf(error) === 'ETIMEDOUT') {
        subscription.awayUntil = performance.now() + CLIENT_PAUSE_MS;
      }
      throw error;
    }
  }

  /** A connection to where it wanted to go; undefined: nobody is there. Connects through at once. */
  #dialApplication({local, peer}: Incoming): number | undefined {
    try {
      return connectToApplication(local, peer);
    } catch (error) {
      const {address, port} = local;
      const to = `${formatAddress(address)} port ${port}`;
      this.#options.log.debug('application', {to, reason: errnoOf(error)});
      return undefined;
    }
  }

  #tee(incoming: Incoming, subscriptions: readonly Subscription[]): void {
    for (const subscription of subscriptions) {
      if (subscription.client.isAway) continue;
      const mirror = this.#mirror(subscription, incoming);
      if (mirror === undefined) continue;
      this.counters.mirrored++;
      const {socket} = incoming;
      socket.on('data', (chunk: Buffer) => mirror.write(chunk));
      socket.once('end', () => mirror.end());
      socket.once('close', () => {
        if (!socket.readableEnded) mirror.reset();
      });
    }
  }

  #mirror(subscription: Subscription, incoming: Incoming): Mirror | undefined {
    try {
      return new Mirror(opener(subscription, incoming), () => {
        this.counters.mirrorsCutOff++;
        this.#warn(
          subscription,
          'MIRROR_TOO_SLOW',
          `a mirrored connection to port ${incoming.local.port} was cut off: the program here reads more slowly than the target`,
        );
      });
    } catch {
      return undefined; // its tunnel is just gone
    }
  }

  #forHttp(incoming: Incoming): RedirectedConnection {
    const {port} = incoming.local;
    // A port's list is another one whenever it changes.
    let asked: readonly Subscription[] | undefined;
    let found: readonly HttpSubscription[] = [];
    return {
      socket: incoming.socket,
      dialApplication: () => {
        const fd = this.#dialApplication(incoming);
        if (fd !== undefined) return fd;
        throw Object.assign(new Error('the application refuses'), {code: 'ECONNREFUSED'});
      },
      subscriptions: () => {
        const all = this.#ports.get(port);
        if (all === asked) return found;
        asked = all;
        // Filters first: whoever takes everything takes the rest.
        found = (all ?? [])
          .toSorted((one, other) => rank(one) - rank(other))
          .map((subscription) => this.#asHttp(subscription, incoming));
        return found;
      },
    };
  }

  #asHttp(subscription: Subscription, incoming: Incoming): HttpSubscription {
    const {mode, filter} = subscription.params;
    return {
      id: subscription.number,
      mode,
      filter,
      connect: () => this.#connectClient(subscription, incoming),
      warn: (code, message) => this.#warn(subscription, code, message),
    };
  }
}

/** How many there are; 0 where they can't be counted: then there is nothing to say. */
function countStanding(port: number): number {
  try {
    return standingConnections(port).length;
  } catch {
    return 0;
  }
}

function standing(port: number, count: number): string {
  const [what, stay] = count === 1 ? ['1 connection', 'stays'] : [`${count} connections`, 'stay'];
  return `${what} to port ${port} stood before it was stolen, and ${stay} with the target until closed (agent.flush_connections: true cuts them)`;
}

function notCut(port: number, failure: string): string {
  return `connections to port ${port} that stood before it was stolen stay with the target: ${failure}; to have them here, have their clients connect again`;
}

function rank({params}: Subscription): number {
  return params.filter === undefined ? 1 : 0;
}

/** What the first subscription that says something about HTTP wants. */
function httpOptions(all: readonly Subscription[]): HttpOptions {
  return {...HTTP_DEFAULTS, ...all[0]?.params.http};
}

function opener(subscription: Subscription, {peer, local}: Incoming): OpenToClient {
  const body = emitIncoming({subscription: subscription.params.id, peer, local});
  return (handler) => subscription.client.open(body, handler);
}

/** An IPv4 address that an IPv6 socket shows, as itself. */
function unmapped(address: Uint8Array): Uint8Array {
  const isMapped =
    address.length === 16 &&
    address.subarray(0, 10).every((byte) => byte === 0) &&
    address[10] === 0xff &&
    address[11] === 0xff;
  return isMapped ? address.subarray(12) : address;
}

/** Node has no public name for it. */
function descriptorOf(socket: Socket): number {
  const {_handle: handle} = socket as unknown as {_handle: {fd?: number} | null};
  return handle?.fd ?? -1;
}
