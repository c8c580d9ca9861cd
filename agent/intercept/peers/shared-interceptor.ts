/**
 * Incoming traffic for the clients of this agent, in a pod that may have other agents.
 *
 * Theory of operation. Ports are redirected by one agent of a pod, else two would take the same connections, and neither
 * could ask the other's filters. So the agents meet at a socket in the pod's network namespace (`meeting-point.ts`).
 * The first one with a subscription binds it and leads: it has the `Interceptor`. The others follow: they hand their clients'
 * subscriptions over, and what comes for them is relayed (`leader.ts`, `follower.ts`). Everything else of an agent stays its
 * own.
 *
 *     electing ──the name was free──► leading ──►─┐
 *        ▲   ├──somebody leads──────► following   │ it leaves: for good
 *        │   └──nobody answers──────► alone ──►───┘
 *        └────────the leader is over─────┘
 *
 * When a leader leaves, it first gives the name up and tells the others; each gives the old subscription back when the
 * new one works, so that no connection is lost between the two. When a leader is killed, the kernel closes its socket: whoever
 * binds the name next takes the dead one's rules away at once, instead of leaving them to expire. In both cases subscriptions
 * keep their places (`Standing`).
 *
 * Alone is who can't meet the others: the name is held by something that does not answer, or that is none of us (an agent
 * in another user namespace among them). It redirects by itself, is refused what another one redirects, and says so.
 * Who lacks NET_ADMIN redirects nothing, and must not lead those who can.
 */

import {randomBytes} from 'node:crypto';
import {setTimeout as delay} from 'node:timers/promises';
import type {InterceptEvent, InterceptParams} from '../../../tunnel/intercept.ts';
import type {Memory} from '../../../tunnel/memory.ts';
import {errnoOf} from '../../errno.ts';
import type {Log} from '../../log.ts';
import {Interceptor, type InterceptorOptions} from '../interceptor.ts';
import type {InterceptClient} from '../subscriptions.ts';
import {Follower} from './follower.ts';
import {gather, type Subscribe} from './gather.ts';
import {Leader} from './leader.ts';
import {mayRedirect} from './may-redirect.ts';
import {MEETING_POINT} from './protocol.ts';

/** How long it is tried to lead or to follow, ms: a leader answers in some ten, a stopped one never. */
const ELECTION_MS = 5_000;
/** Between two attempts at most, ms: a leader that ends gives the name up a moment before it lets go of its peers. */
const PAUSE_MS = 20;
/** How long who has moved is still to be asked by the former leader, ms: of connections that it has accepted. */
const LINGER_MS = 250;
/** What says that there was nobody just now. */
const TRANSIENT = ['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'EAGAIN'];

export interface SharedInterceptorOptions
  extends Pick<InterceptorOptions, 'relayHttp' | 'backends'> {
  readonly log: Log;
  readonly random: () => number;
  /** For the tunnels between agents, shared with the clients'. */
  readonly memory?: Memory;
}

/** A client's subscription, for as long as the client has it. */
interface Wish {
  readonly params: InterceptParams;
  readonly client: InterceptClient;
  readonly onEvent: (event: InterceptEvent) => void;
  readonly since: number;
  /** The client has heard that connections come. */
  isActive: boolean;
  isOver: boolean;
  /** Ends it where it is now. */
  stop: (() => void) | undefined;
}

/** Who leads before us, and how it ended. */
interface Predecessor {
  readonly id: string;
  readonly isGone: boolean;
  /** Subscriptions that move to the next one. */
  readonly moving: number;
}

/** Where subscriptions are made. */
interface Place {
  readonly isOver: boolean;
  readonly subscribe: Subscribe;
}

export class SharedInterceptor {
  readonly counters = {elections: 0, led: 0, followed: 0, alone: 0};
  readonly #options: SharedInterceptorOptions;
  readonly #wishes = new Set<Wish>();
  #place: Promise<Place> | undefined;
  #interceptor: Interceptor | undefined;
  #leader: Leader | undefined;
  #follower: Follower | undefined;
  /** Why we are alone, if that is not as it should be. */
  #complaint: string | undefined;
  #isLeaving = false;

  constructor(options: SharedInterceptorOptions) {
    this.#options = options;
  }

  /** Listening ports of agents, which are none of the target's. */
  get ports(): number[] {
    return [this.#interceptor?.port, this.#follower?.leader.port].filter(
      (port) => port !== undefined,
    );
  }

  /** Subscribes, and tells by events what comes of it; returns the end of it. */
  subscribe(
    params: InterceptParams,
    client: InterceptClient,
    onEvent: (event: InterceptEvent) => void,
  ): () => void {
    const since = Number(process.hrtime.bigint() / 1000n);
    const wish: Wish = {
      ...{params, client, onEvent, since},
      isActive: false,
      isOver: false,
      stop: undefined,
    };
    this.#wishes.add(wish);
    void this.#put(wish);
    return () => this.#forget(wish);
  }

  /** Hands over to others, redirects nothing more; resolves when what was passed on is over, or has had its time. */
  async drain(): Promise<void> {
    this.#isLeaving = true;
    await this.#leader?.leave();
    await this.#interceptor?.drain();
  }

  /** Ends what is open, and then removes every rule, before it returns. */
  close(): void {
    this.#isLeaving = true;
    this.#leader?.close();
    this.#follower?.close();
    this.#interceptor?.close();
  }

  // ---- subscriptions ----

  /** Subscribes where subscriptions are made now; gives back what it had elsewhere when the new one works. */
  async #put(wish: Wish): Promise<void> {
    this.#place ??= this.#elect();
    const place = await this.#place;
    // Who has changed the place meanwhile has put everything anew.
    if (wish.isOver || place.isOver || this.#isLeaving) return;
    let former = wish.stop;
    let isCurrent = true;
    const onEvent = (event: InterceptEvent): void => {
      if (!isCurrent || wish.isOver) return;
      if (event.event !== 'warning' && former !== undefined) {
        setTimeout(former, LINGER_MS);
        former = undefined;
      }
      this.#tell(wish, event);
    };
    const {params, client, since, isActive} = wish;
    let stop: () => void;
    try {
      stop = place.subscribe(params, client, onEvent, {since, isMoved: isActive});
    } catch (error) {
      // One that is just too long to be handed over.
      onEvent({event: 'failed', errno: 'EINVAL', message: String(error)});
      return;
    }
    wish.stop = () => {
      isCurrent = false;
      former?.();
      stop();
    };
    if (this.#complaint !== undefined) {
      wish.onEvent({event: 'warning', code: 'NOT_JOINED', message: this.#complaint});
    }
  }

  #tell(wish: Wish, event: InterceptEvent): void {
    const isNews = event.event !== 'active' || !wish.isActive;
    if (event.event === 'active') wish.isActive = true;
    if (event.event === 'failed') this.#forget(wish);
    if (isNews) wish.onEvent(event);
  }

  #forget(wish: Wish): void {
    wish.isOver = true;
    this.#wishes.delete(wish);
    wish.stop?.();
    wish.stop = undefined;
  }

  // ---- who leads ----

  #move(predecessor: Predecessor): void {
    if (this.#isLeaving) return;
    this.#options.log.info('the leader is over', {...predecessor});
    this.#place = this.#elect(predecessor);
    for (const wish of this.#wishes) void this.#put(wish);
  }

  async #elect(predecessor?: Predecessor): Promise<Place> {
    this.counters.elections++;
    if (!mayRedirect()) return this.#beAlone(predecessor);
    const endsAt = performance.now() + ELECTION_MS;
    let errno = '';
    do {
      try {
        return (await this.#lead(predecessor)) ?? (await this.#follow(endsAt));
      } catch (error) {
        errno = errnoOf(error);
        if (!TRANSIENT.includes(errno)) break;
      }
      await delay(PAUSE_MS * this.#options.random());
    } while (performance.now() < endsAt);
    this.#complaint = `this session can't share ports with others: what holds the place in the pod where agents meet does not answer as an agent (${errno})`;
    this.#options.log.warn('not joined', {errno});
    return this.#beAlone(predecessor);
  }

  /** Undefined: somebody else leads. */
  async #lead(predecessor: Predecessor | undefined): Promise<Place | undefined> {
    const id = randomBytes(4).toString('hex');
    const interceptor = this.#intercept(id, predecessor);
    const {memory, random, log} = this.#options;
    const direct: Subscribe = (...args) => interceptor.subscribe(...args);
    const moving = predecessor?.moving ?? 0;
    const subscribe = moving > 1 ? gather(direct, moving) : direct;
    const leader = new Leader({...{id, interceptor, subscribe}, ...{memory, random, log}});
    if (!(await leader.listen(MEETING_POINT))) return undefined;
    this.counters.led++;
    this.#interceptor = interceptor;
    this.#leader = leader;
    log.info('leading', {id, predecessor: predecessor?.id});
    if (predecessor?.isGone === true) await this.#bury(predecessor.id);
    return {isOver: false, subscribe};
  }

  async #follow(endsAt: number): Promise<Place> {
    const {memory, random, log} = this.#options;
    const follower = await Follower.join({
      name: MEETING_POINT,
      timeoutMs: Math.max(0, endsAt - performance.now()),
      ...{memory, random},
      onLeft: ({leader}, {moving}) => this.#move({id: leader.id, isGone: false, moving}),
      onGone: (gone, hadLeft) => this.#onGone(gone, hadLeft),
    });
    this.counters.followed++;
    this.#follower = follower;
    log.info('following', {id: follower.leader.id});
    return follower;
  }

  #onGone(follower: Follower, hadLeft: boolean): void {
    const {id} = follower.leader;
    if (this.#follower === follower) this.#follower = undefined;
    // It may have been killed on its way.
    if (hadLeft) void this.#bury(id);
    else this.#move({id, isGone: true, moving: 0});
  }

  #beAlone(predecessor: Predecessor | undefined): Place {
    this.counters.alone++;
    const interceptor = this.#intercept(randomBytes(4).toString('hex'), predecessor);
    this.#interceptor = interceptor;
    return {isOver: false, subscribe: (...args) => interceptor.subscribe(...args)};
  }

  #intercept(id: string, predecessor: Predecessor | undefined): Interceptor {
    const {log, relayHttp, backends} = this.#options;
    return new Interceptor({
      ...{id, log, predecessor: predecessor?.id},
      ...(relayHttp !== undefined && {relayHttp}),
      ...(backends !== undefined && {backends}),
    });
  }

  /** What is left of it redirects to nobody. */
  async #bury(id: string): Promise<void> {
    try {
      await this.#interceptor?.bury(id);
    } catch (error) {
      this.#options.log.warn('rules of a dead agent are left to expire', {
        id,
        reason: String(error),
      });
    }
  }
}
