/**
 * The side of an agent whose pod has a leader already: it hands its clients' subscriptions over, and what comes for
 * them is relayed to each by its own tunnel.
 */

import {startCall} from '../../../tunnel/calls.ts';
import type {InterceptEvent, InterceptParams} from '../../../tunnel/intercept.ts';
import type {Memory} from '../../../tunnel/memory.ts';
import {emitIncoming, parseIncoming} from '../../../tunnel/messages.ts';
import type {Mux} from '../../../tunnel/mux.ts';
import type {MuxStream} from '../../../tunnel/types.ts';
import {connectTunnel} from '../../../tunnel/websocket.ts';
import type {InterceptClient, Standing} from '../subscriptions.ts';
import {visit} from './meeting-point.ts';
import {
  BEAT_MS,
  type LeaderInfo,
  type LeavingInfo,
  PEER_METHOD,
  PEER_TOKEN,
  parseLeaderInfo,
  parseLeavingInfo,
  SILENT_MS,
} from './protocol.ts';
import {relayStream} from './relay.ts';

/** Connections at a time, which is what a leader takes of all clients. More it gives to the application. */
const MOST_RELAYED = 6_144;

/** A subscription as its client made it. */
interface Subscription {
  readonly params: InterceptParams;
  readonly client: InterceptClient;
}

export interface FollowerOptions {
  /** Where the leader is. */
  readonly name: string;
  /** How long it may take to tell who it is. */
  readonly timeoutMs: number;
  /** Shared with the agent's own clients. */
  readonly memory: Memory | undefined;
  readonly random: () => number;
  /** The leader leaves, and goes on until its followers have moved. Once, and only before `onGone`. */
  readonly onLeft: (follower: Follower, info: LeavingInfo) => void;
  /** The leader says nothing any more, but is not gone. Once, and only before `onGone`. */
  readonly onSilent: (follower: Follower) => void;
  /** The leader is gone. Once. `hadLeft`: that others are to lead was told before. */
  readonly onGone: (follower: Follower, hadLeft: boolean) => void;
}

function isEvent(value: unknown): value is InterceptEvent {
  return typeof value === 'object' && value !== null && 'event' in value;
}

export class Follower {
  readonly counters = {relayed: 0, refused: 0};
  readonly #mux: Mux;
  readonly #options: FollowerOptions;
  /** By their numbers at the leader. */
  readonly #subscriptions = new Map<number, Subscription>();
  readonly #joined = Promise.withResolvers<void>();
  #leader: LeaderInfo | undefined;
  #nextNumber = 1;
  #heardAt = performance.now();
  #lookedAt = performance.now();
  #timer: NodeJS.Timeout | undefined;
  #state: 'joining' | 'following' | 'left' | 'over' = 'joining';

  /**
   * Joins who leads. Rejects with ECONNREFUSED or ECONNRESET: there is nobody any more; with EACCES, EPROTO or
   * ETIMEDOUT: there is somebody else.
   */
  static async join(options: FollowerOptions): Promise<Follower> {
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(() => late.reject(failure('ETIMEDOUT')), options.timeoutMs);
    let follower: Follower | undefined;
    try {
      const socket = await visit(options.name);
      follower = new Follower(socket, options);
      await Promise.race([follower.#joined.promise, late.promise]);
      return follower;
    } catch (error) {
      follower?.close();
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  private constructor(socket: Awaited<ReturnType<typeof visit>>, options: FollowerOptions) {
    this.#options = options;
    const {memory, random, timeoutMs} = options;
    this.#mux = connectTunnel(
      socket,
      {
        token: PEER_TOKEN,
        random,
        // After `join` has told that it was silent.
        handshakeTimeoutMs: 2 * timeoutMs,
        limits: {streams: MOST_RELAYED},
        ...(memory !== undefined && {memory}),
      },
      {
        onOpen: (stream, body) => this.#onOpen(stream, body),
        onClose: (error) => this.#onClose(error?.code),
      },
    );
    startCall(
      this.#mux,
      {method: PEER_METHOD.lead, params: {}},
      {
        onItem: (item) => this.#onItem(item),
        onEnd: () => this.#joined.reject(failure('ECONNRESET')),
      },
    );
  }

  /** Who leads. */
  get leader(): LeaderInfo {
    return this.#leader ?? {id: '', port: 0};
  }

  /** Whether it takes no more subscriptions. */
  get isOver(): boolean {
    return this.#state !== 'following';
  }

  /** Subscribes at the leader, as `Interceptor.subscribe`. Throws when the tunnel to it is over. */
  subscribe(
    params: InterceptParams,
    client: InterceptClient,
    onEvent: (event: InterceptEvent) => void,
    standing: Standing,
  ): () => void {
    const id = this.#nextNumber++;
    this.#subscriptions.set(id, {params, client});
    const call = startCall(
      this.#mux,
      {method: PEER_METHOD.intercept, params: {...params, ...standing, id}},
      {
        onItem(item) {
          if (isEvent(item)) onEvent(item);
        },
        // Its events say what there is to say; an end without one is the leader's.
        onEnd: () => undefined,
      },
    );
    return () => {
      this.#subscriptions.delete(id);
      call.reset('ECANCELED');
    };
  }

  close(): void {
    clearInterval(this.#timer);
    this.#state = 'over';
    this.#mux.close();
  }

  #onItem(item: unknown): void {
    this.#heardAt = performance.now();
    const leaving = parseLeavingInfo(item);
    if (leaving !== undefined) {
      this.#joined.reject(failure('ECONNRESET'));
      if (this.#state !== 'following') return;
      this.#state = 'left';
      this.#options.onLeft(this, leaving);
    } else if (this.#state === 'joining') {
      this.#leader = parseLeaderInfo(item);
      if (this.#leader === undefined) {
        this.#joined.reject(failure('EPROTO'));
      } else {
        this.#state = 'following';
        this.#timer = setInterval(() => this.#look(), BEAT_MS / 2);
        this.#timer.unref();
        this.#joined.resolve();
      }
    }
  }

  /** Whether it still leads. What was subscribed stays there: it may go on. */
  #look(): void {
    const nowMs = performance.now();
    // We were stopped ourselves: what it has said meanwhile is still to be heard.
    if (nowMs - this.#lookedAt > BEAT_MS) this.#heardAt = nowMs;
    this.#lookedAt = nowMs;
    if (nowMs - this.#heardAt < SILENT_MS) return;
    clearInterval(this.#timer);
    if (this.#state !== 'following') return;
    this.#state = 'left';
    this.#options.onSilent(this);
  }

  #onClose(code: string | undefined): void {
    clearInterval(this.#timer);
    this.#joined.reject(failure('ECONNRESET'));
    const state = this.#state;
    this.#state = 'over';
    // Who is only silent may go on, and needs its rules.
    if (state === 'left' && code === 'PEER_DEAD') return;
    if (state === 'following' || state === 'left') this.#options.onGone(this, state === 'left');
  }

  #onOpen(stream: MuxStream, body: Uint8Array): void {
    if (stream.kind !== 'tcp') {
      stream.refuse('EOPNOTSUPP');
      return;
    }
    const incoming = parseIncoming(body);
    const subscription = this.#subscriptions.get(incoming.subscription);
    if (subscription === undefined || subscription.client.isAway) {
      this.counters.refused++;
      stream.refuse('EHOSTUNREACH');
      return;
    }
    const {params, client} = subscription;
    const own = emitIncoming({...incoming, subscription: params.id});
    this.counters.relayed++;
    relayStream(
      stream,
      (handler) => client.open(own, handler),
      () => this.counters.refused++,
    );
  }
}

function failure(code: string): Error {
  return Object.assign(new Error(`the agent that has the pod's traffic: ${code}`), {code});
}
