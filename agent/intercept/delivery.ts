/**
 * Gives a connection to whom it belongs, by the subscriptions of its port; what the theory of it is, is told where it
 * comes from (`interceptor.ts`).
 */

import {formatAddress} from '../../sockets/address.ts';
import {socketOfDescriptor} from '../../sockets/connect.ts';
import type {Passage} from '../../sockets/passage.ts';
import type {StreamSocket} from '../../sockets/types.ts';
import {errnoOf} from '../errno.ts';
import type {Log} from '../log.ts';
import {connectToApplication} from './application.ts';
import {
  HTTP_DEFAULTS,
  type HttpOptions,
  type HttpSubscription,
  type RedirectedConnection,
} from './http/types.ts';
import type {LettingGo} from './letting-go.ts';
import {type Mirror, mirrorFor} from './mirror.ts';
import {pass} from './pass.ts';
import {type Subscription, type Subscriptions, warn} from './subscriptions.ts';
import {connectClient, type Ends, opener} from './tunnel-socket.ts';
import {isWithin} from './within.ts';

/** How long a client may take to say whether its program takes a connection, ms. Then it is the application's. */
const CLIENT_TIMEOUT_MS = 5_000;
/** A client that did not answer is not asked again for so long, ms. */
const CLIENT_PAUSE_MS = 5_000;

/** Divides a connection by its requests: `http/`. */
export type RelayHttp = (connection: RedirectedConnection, options: HttpOptions) => Promise<void>;

/** A connection, with what is known of it. */
export interface Incoming extends Ends {
  /** Nobody has read it. */
  readonly socket: StreamSocket;
  /** Hears what of it is not passed on as it is. */
  readonly passage: Passage;
}

/** What happened to connections. */
export interface DeliveryCounters {
  stolen: number;
  passed: number;
  mirrored: number;
  mirrorsCutOff: number;
  handedToHttp: number;
  clientsFailed: number;
  applicationFailed: number;
}

export interface DeliveryOptions {
  readonly subscriptions: Subscriptions;
  readonly counters: DeliveryCounters;
  readonly log: Log;
  readonly relayHttp?: RelayHttp;
  readonly clientTimeoutMs?: number;
  /** Says that connections which are passed on are to be let go. */
  readonly lettingGo: LettingGo;
}

export class Delivery {
  readonly #options: DeliveryOptions;
  readonly #subscriptions: Subscriptions;
  readonly #counters: DeliveryCounters;

  constructor(options: DeliveryOptions) {
    this.#options = options;
    this.#subscriptions = options.subscriptions;
    this.#counters = options.counters;
  }

  /** Resolves when the connection is over. */
  async give(incoming: Incoming): Promise<void> {
    const all = this.#concerned(incoming);
    const {relayHttp} = this.#options;
    if (relayHttp !== undefined && all.some(({params}) => params.filter !== undefined)) {
      this.#counters.handedToHttp++;
      await relayHttp(this.#forHttp(incoming), httpOptions(all));
      return;
    }
    const unfiltered = all.filter(({params}) => params.filter === undefined);
    const owner = unfiltered.find(({params}) => params.mode === 'steal');
    const mirrors = unfiltered.filter(({params}) => params.mode === 'mirror');
    const program = owner && (await this.#connectProgram(owner, incoming));
    if (program === undefined) {
      await this.#pass(incoming, mirrors);
      return;
    }
    this.#counters.stolen++;
    incoming.passage.hold();
    await pass(incoming.socket, program, this.#mirrors(incoming, mirrors));
  }

  /** Whom a connection may be for: who captures has copies of what came from outside already. */
  #concerned(incoming: Incoming): readonly Subscription[] {
    const all = this.#subscriptions.of(incoming.local.port);
    if (all.every(({isCaptured}) => !isCaptured) || isWithin(incoming)) return all;
    return all.filter(({isCaptured}) => !isCaptured);
  }

  /** To the application, with copies for who mirrors. */
  async #pass(incoming: Incoming, subscriptions: readonly Subscription[]): Promise<void> {
    const {socket} = incoming;
    const fd = this.#dialApplication(incoming);
    if (fd === undefined) {
      this.#counters.applicationFailed++;
      socket.destroy(true);
      return;
    }
    this.#counters.passed++;
    const application = socketOfDescriptor(fd);
    incoming.passage.join(application);
    await pass(socket, application, this.#mirrors(incoming, subscriptions));
  }

  /** Copies for who mirrors. */
  #mirrors(incoming: Incoming, subscriptions: readonly Subscription[]): Mirror[] {
    const mirrors = subscriptions
      .filter(({client}) => !client.isAway)
      .flatMap((subscription) => mirrorFor(subscription, incoming, this.#counters) ?? []);
    this.#counters.mirrored += mirrors.length;
    return mirrors;
  }

  /** A connection into the client's program; undefined: it is the application's. */
  async #connectProgram(
    subscription: Subscription,
    incoming: Incoming,
  ): Promise<StreamSocket | undefined> {
    try {
      return await this.#connectClient(subscription, incoming);
    } catch {
      return undefined;
    }
  }

  async #connectClient(subscription: Subscription, incoming: Incoming): Promise<StreamSocket> {
    const {client} = subscription;
    if (client.isAway || subscription.awayUntil > performance.now()) {
      throw Object.assign(new Error('the client is away'), {code: 'EHOSTUNREACH'});
    }
    try {
      const timeoutMs = this.#options.clientTimeoutMs ?? CLIENT_TIMEOUT_MS;
      return await connectClient(opener(subscription, incoming), timeoutMs);
    } catch (error) {
      this.#counters.clientsFailed++;
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

  #forHttp(incoming: Incoming): RedirectedConnection {
    const {port} = incoming.local;
    // A port's list is another one whenever it changes.
    let asked: readonly Subscription[] | undefined;
    let found: readonly HttpSubscription[] = [];
    return {
      socket: incoming.socket,
      lettingGo: this.#options.lettingGo,
      passage: incoming.passage,
      dialApplication: () => {
        const fd = this.#dialApplication(incoming);
        if (fd !== undefined) return fd;
        throw Object.assign(new Error('the application refuses'), {code: 'ECONNREFUSED'});
      },
      subscriptions: () => {
        const all = this.#subscriptions.of(port);
        if (all === asked) return found;
        asked = all;
        // Filters first: whoever takes everything takes the rest.
        found = this.#concerned(incoming)
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
      warn: (code, message) => warn(subscription, code, message),
    };
  }
}

function rank({params}: Subscription): number {
  return params.filter === undefined ? 1 : 0;
}

/** What the first subscription that says something about HTTP wants. */
function httpOptions(all: readonly Subscription[]): HttpOptions {
  return {...HTTP_DEFAULTS, ...all[0]?.params.http};
}
