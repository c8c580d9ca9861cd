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
 * binds the name next takes the dead one's rules away at once, instead of leaving them to expire. When a leader is stopped, its rules
 * expire and its followers hear nothing any more: they meet at the next place (`meetingPoint`). When it goes on, it finds
 * that held before it redirects again, and follows; what passes through it goes on. In all cases subscriptions keep their places
 * (`Standing`).
 *
 * Copies of packets each agent makes for itself, if it can (`capture/`). Such a subscription is made all the same where others are, for
 * the calls on `lo` that the rules lead away; it redirects nothing (`Standing.isCaptured`).
 *
 * `candidate.ts` finds the place. Alone is who can't meet the others: the name is held by something that does not answer, or
 * that is none of us (an agent in another user namespace among them). It redirects by itself, is refused what another one
 * redirects, and says so. Who lacks NET_ADMIN redirects nothing, and must not lead those who can.
 */

import type {InterceptEvent, InterceptParams} from '../../../tunnel/intercept.ts';
import type {Log} from '../../log.ts';
import {Capture, type CaptureCounts} from '../capture/capture.ts';
import {httpCounters} from '../http/counters.ts';
import type {InterceptClient} from '../subscriptions.ts';
import {Candidate, type CandidateOptions, type Place, type Predecessor} from './candidate.ts';

/** How long who has moved is still to be asked by the former leader, ms: of connections that it has accepted. */
const LINGER_MS = 250;

/** A client's subscription, for as long as the client has it. */
interface Wish {
  readonly params: InterceptParams;
  readonly client: InterceptClient;
  readonly onEvent: (event: InterceptEvent) => void;
  readonly since: number;
  /** The client has heard that connections come. */
  isActive: boolean;
  /** Ends the copies of what comes, if that is how the client gets them. */
  stopCapture: (() => void) | undefined;
  isOver: boolean;
  /** Ends it where it is now. */
  stop: (() => void) | undefined;
}

export class SharedInterceptor {
  readonly #candidate: Candidate;
  readonly #capture: Capture;
  readonly #log: Log;
  readonly #wishes = new Set<Wish>();
  #place: Promise<Place> | undefined;
  #isLeaving = false;

  constructor(options: CandidateOptions) {
    this.#log = options.log;
    this.#capture = new Capture(options.log, () => this.ports);
    this.#candidate = new Candidate(options, (predecessor) => this.#move(predecessor));
  }

  /** Listening ports of agents, which are none of the target's. */
  get ports(): number[] {
    return this.#candidate.ports;
  }

  /** Connections that go through us now. */
  get connections(): number {
    return this.#candidate.connections;
  }

  /** Those of them that are waited for after `withdraw`. */
  get lingering(): number {
    return this.#candidate.lingering;
  }

  /** What is copied as packets. */
  get captured(): CaptureCounts {
    return this.#capture.counts;
  }

  /** Copies of connections and requests that were given up, as a program did not take them in time. */
  get slowCopies(): number {
    const {mirrorsCutOff} = this.#capture.counters;
    return mirrorsCutOff + this.#candidate.mirrorsCutOff + httpCounters.cutMirrors;
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
      stopCapture: undefined,
      stop: undefined,
    };
    void this.#begin(wish);
    return () => this.#forget(wish);
  }

  /** Hands over to others, and redirects nothing more; resolves when that is so. */
  async withdraw(): Promise<void> {
    this.#isLeaving = true;
    await this.#candidate.withdraw();
  }

  /** After `withdraw`: resolves when everything that passes through us is over, or has had its time. */
  async linger(): Promise<void> {
    await this.#candidate.linger();
  }

  /** Ends what is open, and then removes every rule, before it returns. */
  close(): void {
    this.#isLeaving = true;
    this.#candidate.close();
    this.#capture.close();
  }

  // ---- subscriptions ----

  /** A mirror needs nobody, but for calls on `lo` to a port that somebody steals. */
  async #begin(wish: Wish): Promise<void> {
    const {params, client} = wish;
    if (params.mode === 'mirror') {
      const onEvent = (event: InterceptEvent): void => this.#tell(wish, event);
      wish.stopCapture = this.#capture.subscribe(params, client, onEvent);
    }
    this.#wishes.add(wish);
    await this.#put(wish);
  }

  /** Subscribes where subscriptions are made now; gives back what it had elsewhere when the new one works. */
  async #put(wish: Wish): Promise<void> {
    this.#place ??= this.#candidate.elect();
    const place = await this.#place;
    // Who has changed the place meanwhile has put everything anew.
    if (wish.isOver || place.isOver || this.#isLeaving) return;
    const isCaptured = wish.stopCapture !== undefined;
    let former = wish.stop;
    let isCurrent = true;
    const onEvent = (told: InterceptEvent): void => {
      if (!isCurrent || wish.isOver) return;
      let event = told;
      if (event.event === 'failed' && isCaptured) {
        this.#log.info('no copies of calls on lo', {reason: event.message});
        event = {event: 'active'};
      }
      if (event.event !== 'warning' && former !== undefined) {
        setTimeout(former, LINGER_MS);
        former = undefined;
      }
      this.#tell(wish, event);
    };
    const {params, client, since} = wish;
    const isMoved = former !== undefined && wish.isActive;
    let stop: () => void;
    try {
      stop = place.subscribe(params, client, onEvent, {since, isMoved, isCaptured});
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
    const {complaint} = this.#candidate;
    if (complaint !== undefined && !isCaptured) {
      wish.onEvent({event: 'warning', code: 'NOT_JOINED', message: complaint});
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
    wish.stopCapture?.();
    wish.stopCapture = undefined;
    wish.stop?.();
    wish.stop = undefined;
  }

  #move(predecessor: Predecessor): void {
    if (this.#isLeaving) return;
    this.#log.info('the leader is over', {...predecessor});
    this.#place = this.#candidate.elect(predecessor);
    for (const wish of this.#wishes) void this.#put(wish);
  }
}
