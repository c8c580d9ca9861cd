/**
 * Finds the place where this agent's subscriptions are made: at itself, as the one who leads or alone, or at another agent
 * of the pod. See `shared-interceptor.ts`.
 */

import {randomBytes} from 'node:crypto';
import {setTimeout as delay} from 'node:timers/promises';
import type {Memory} from '../../../tunnel/memory.ts';
import {errnoOf} from '../../errno.ts';
import type {Log} from '../../log.ts';
import {Interceptor, type InterceptorOptions} from '../interceptor.ts';
import {Follower} from './follower.ts';
import {gather, type Subscribe} from './gather.ts';
import {Leader} from './leader.ts';
import {stay} from './lingering.ts';
import {mayRedirect} from './may-redirect.ts';
import {placeAbove} from './meeting-point.ts';
import {LAST_PLACE, meetingPoint, SILENT_MS} from './protocol.ts';

/** How long it is tried to lead or to follow, ms: a leader answers in some ten. */
const ELECTION_MS = 5_000;
/** Who does not answer for so long is stopped, and its rules have expired, ms. */
const JOIN_MS = SILENT_MS + 1_000;
/** Between two attempts at most, ms: a leader that ends gives the name up a moment before it lets go of its peers. */
const PAUSE_MS = 20;
/** What says that there was nobody just now. */
const TRANSIENT = ['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'EAGAIN'];

export interface CandidateOptions extends Pick<InterceptorOptions, 'relayHttp' | 'backends'> {
  readonly log: Log;
  readonly random: () => number;
  /** For the tunnels between agents, shared with the clients'. */
  readonly memory?: Memory;
}

/** Who led before, and how it ended. */
export interface Predecessor {
  readonly id: string;
  /** Where the next one is to lead: `meetingPoint`. */
  readonly next: number;
  readonly isGone: boolean;
  /** Subscriptions that move to the next one. */
  readonly moving: number;
}

/** Where subscriptions are made. */
export interface Place {
  isOver: boolean;
  readonly subscribe: Subscribe;
}

export class Candidate {
  readonly counters = {elections: 0, led: 0, followed: 0, alone: 0};
  readonly #options: CandidateOptions;
  readonly #onOver: (predecessor: Predecessor) => void;
  #interceptor: Interceptor | undefined;
  /** Those of before we were deposed: connections still go through them. */
  readonly #former = new Set<Interceptor>();
  #leader: Leader | undefined;
  #follower: Follower | undefined;
  #complaint: string | undefined;

  /** `onOver`: the last place is over, and everything is to move. */
  constructor(options: CandidateOptions, onOver: (predecessor: Predecessor) => void) {
    this.#options = options;
    this.#onOver = onOver;
  }

  /** Why we are alone, if that is not as it should be. */
  get complaint(): string | undefined {
    return this.#complaint;
  }

  /** Listening ports of agents, which are none of the target's. */
  get ports(): number[] {
    const own = this.#interceptors.map(({port}) => port);
    return [...own, this.#follower?.leader.port].filter((port) => port !== undefined);
  }

  /** Connections that go through us now. */
  get connections(): number {
    return this.#interceptors.reduce((sum, {connections}) => sum + connections, 0);
  }

  get #interceptors(): Interceptor[] {
    return [...this.#former, ...(this.#interceptor === undefined ? [] : [this.#interceptor])];
  }

  /** Those of them that are waited for after `withdraw`. */
  get lingering(): number {
    return this.#interceptor?.lingering ?? 0;
  }

  /** Copies that were cut off, as a program was too slow. */
  get mirrorsCutOff(): number {
    return this.#interceptor?.counters.mirrorsCutOff ?? 0;
  }

  /** Finds a place, which there always is. */
  async elect(predecessor?: Predecessor): Promise<Place> {
    this.counters.elections++;
    if (!mayRedirect()) return this.#beAlone(predecessor);
    let endsAt = performance.now() + ELECTION_MS;
    let at = predecessor?.next ?? 0;
    let errno = '';
    do {
      try {
        at = (await placeAbove(at)) ?? at;
        return (await this.#lead(at, predecessor)) ?? (await this.#follow(at));
      } catch (error) {
        errno = errnoOf(error);
        const isSilent = errno === 'ETIMEDOUT' && at < LAST_PLACE;
        if (isSilent) {
          at++;
          endsAt = performance.now() + ELECTION_MS;
        } else if (!TRANSIENT.includes(errno)) break;
      }
      await delay(PAUSE_MS * this.#options.random());
    } while (performance.now() < endsAt);
    this.#complaint = `this session can't share ports with others: what holds the place in the pod where agents meet does not answer as an agent (${errno})`;
    this.#options.log.warn('not joined', {errno});
    return this.#beAlone(predecessor);
  }

  /** Hands over to others, and redirects nothing more; resolves when that is so. */
  async withdraw(): Promise<void> {
    await this.#leader?.leave();
    await Promise.all(this.#interceptors.map((one) => one.withdraw()));
  }

  /** After `withdraw`: resolves when everything that passes through us is over, or has had its time. */
  async linger(): Promise<void> {
    let staying: Promise<string> | undefined;
    const stay = (): Promise<string> => {
      staying ??= this.#stay();
      return staying;
    };
    await Promise.all(this.#interceptors.map((one) => one.linger(stay)));
  }

  /** Resolves when more linger than may. */
  async #stay(): Promise<string> {
    const {displaced} = await stay(this.#options.log);
    await displaced;
    return 'others linger';
  }

  /** Ends what is open, and then removes every rule, before it returns. */
  close(): void {
    this.#leader?.close();
    this.#follower?.close();
    for (const interceptor of this.#interceptors) interceptor.close();
  }

  /** Undefined: somebody else leads. */
  async #lead(at: number, predecessor: Predecessor | undefined): Promise<Place | undefined> {
    const id = randomBytes(4).toString('hex');
    const mayGoOn = async (): Promise<boolean> => !(await leader.isDeposed());
    const interceptor = this.#intercept(id, predecessor, mayGoOn);
    const {memory, random, log} = this.#options;
    const direct: Subscribe = (...args) => interceptor.subscribe(...args);
    const moving = predecessor?.moving ?? 0;
    const subscribe = moving > 1 ? gather(direct, moving) : direct;
    const place: Place = {isOver: false, subscribe};
    const onDeposed = (): void => {
      place.isOver = true;
      this.#onDeposed(interceptor, {id, next: at, isGone: false, moving: 0});
    };
    const leader = new Leader({
      ...{id, place: at, interceptor, subscribe, onDeposed},
      ...{memory, random, log},
    });
    if (!(await leader.listen())) return undefined;
    this.counters.led++;
    this.#interceptor = interceptor;
    this.#leader = leader;
    log.info('leading', {id, place: at, predecessor: predecessor?.id});
    if (predecessor?.isGone === true) await this.#bury(predecessor.id);
    return place;
  }

  /** Rejects with ETIMEDOUT: who leads there is stopped. */
  async #follow(at: number): Promise<Place> {
    const {memory, random, log} = this.#options;
    const over = {next: at, isGone: false, moving: 0};
    const follower = await Follower.join({
      name: meetingPoint(at),
      timeoutMs: JOIN_MS,
      ...{memory, random},
      onLeft: ({leader: {id}}, {moving}) => this.#onOver({...over, id, moving}),
      onSilent: ({leader: {id}}) => this.#onOver({...over, id, next: Math.min(at + 1, LAST_PLACE)}),
      onGone: (gone, hadLeft) => this.#onGone(gone, hadLeft, at),
    });
    this.counters.followed++;
    this.#follower = follower;
    log.info('following', {id: follower.leader.id});
    return follower;
  }

  /** Somebody else leads: what passes through us goes on, and everything else moves. */
  #onDeposed(interceptor: Interceptor, predecessor: Predecessor): void {
    if (this.#interceptor === interceptor) this.#interceptor = undefined;
    this.#former.add(interceptor);
    this.#leader = undefined;
    void interceptor.yield();
    this.#onOver(predecessor);
  }

  #onGone(follower: Follower, hadLeft: boolean, next: number): void {
    const {id} = follower.leader;
    if (this.#follower === follower) this.#follower = undefined;
    // It may have been killed on its way.
    if (hadLeft) void this.#bury(id);
    else this.#onOver({id, next, isGone: true, moving: 0});
  }

  #beAlone(predecessor: Predecessor | undefined): Place {
    this.counters.alone++;
    const interceptor = this.#intercept(randomBytes(4).toString('hex'), predecessor);
    this.#interceptor = interceptor;
    return {isOver: false, subscribe: (...args) => interceptor.subscribe(...args)};
  }

  #intercept(
    id: string,
    predecessor: Predecessor | undefined,
    mayGoOn = async (): Promise<boolean> => true,
  ): Interceptor {
    const {log, relayHttp, backends} = this.#options;
    return new Interceptor({
      ...{id, log, predecessor: predecessor?.id, mayGoOn},
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
