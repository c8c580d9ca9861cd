/** Who wants connections to which of the target's ports. */

import type {InterceptEvent, InterceptParams} from '../../tunnel/intercept.ts';
import type {MuxStream, StreamHandler} from '../../tunnel/types.ts';

/** Subscriptions at a time, of all clients. */
const MOST_SUBSCRIPTIONS = 1_024;

/** A client's tunnel, as far as it matters here. */
export interface InterceptClient {
  /** Opens a stream of kind tcp. Throws when the tunnel is over. */
  open(body: Uint8Array, handler: StreamHandler): MuxStream;
  /** Whether there is no connection to it at the moment. */
  readonly isAway: boolean;
}

/** Where a subscription stands among others. */
export interface Standing {
  /** When it was made, by a clock that all agents of the pod have: who came first is asked first. */
  readonly since: number;
  /** An agent before this one has let it be beside the others. */
  readonly isMoved: boolean;
  /**
   * Its own agent copies what comes to the port (`capture/`), and nothing is redirected for it. What is missing there is
   * what the rules lead away on `lo` for somebody else.
   */
  readonly isCaptured: boolean;
}

export interface Subscription extends Standing {
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

/** What a copy of a connection needs to know. */
export type Subscriber = Pick<Subscription, 'params' | 'client' | 'onEvent' | 'warned'>;

/** Tells a client something about its subscription, once. */
export function warn({warned, onEvent}: Subscriber, code: string, message: string): void {
  if (warned.has(code)) return;
  warned.add(code);
  onEvent({event: 'warning', code, message});
}

export class Subscriptions {
  readonly #ports = new Map<number, readonly Subscription[]>();
  #count = 0;

  get isFull(): boolean {
    return this.#count >= MOST_SUBSCRIPTIONS;
  }

  /** Those of a port, in their order; another list whenever it changes. */
  of(port: number): readonly Subscription[] {
    return this.#ports.get(port) ?? NONE;
  }

  /** Whether there is one for which the port is redirected. */
  needsRedirect(port: number): boolean {
    return this.of(port).some(({isCaptured}) => !isCaptured);
  }

  all(): Subscription[] {
    return [...this.#ports.values()].flat();
  }

  has(subscription: Subscription): boolean {
    return this.of(subscription.params.port).includes(subscription);
  }

  /** The steals that `params` can't be beside. */
  concurrent({port, mode, filter}: InterceptParams): Subscription[] {
    if (mode !== 'steal') return [];
    return this.of(port).filter(
      ({params}) =>
        params.mode === 'steal' && (filter === undefined || params.filter === undefined),
    );
  }

  add(subscription: Subscription): void {
    const {port} = subscription.params;
    const all = [...this.of(port), subscription];
    this.#ports.set(
      port,
      all.toSorted((one, other) => one.since - other.since),
    );
    this.#count++;
  }

  /** Takes one out; returns whether it was there. */
  remove(subscription: Subscription): boolean {
    if (!this.has(subscription)) return false;
    const {port} = subscription.params;
    const rest = this.of(port).filter((other) => other !== subscription);
    if (rest.length > 0) this.#ports.set(port, rest);
    else this.#ports.delete(port);
    this.#count--;
    return true;
  }

  clear(): void {
    this.#ports.clear();
    this.#count = 0;
  }
}

const NONE: readonly Subscription[] = [];
