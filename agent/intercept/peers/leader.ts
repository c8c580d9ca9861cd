/**
 * The side of the agent that redirects: other agents of the pod are clients of its interceptor, each by a tunnel over a
 * connection to the meeting point. They get what its own clients get of the pod's incoming traffic, and nothing else of
 * it.
 *
 * Who leaves in good order gives the name up, tells everybody, and goes on until they have moved to the next leader. Who was
 * stopped for so long that others lead, finds a place above its own held when it goes on (`isDeposed`), and leaves, too.
 */

import {createServer, type Server} from 'node:http';
import {parseCall} from '../../../tunnel/calls.ts';
import type {InterceptEvent} from '../../../tunnel/intercept.ts';
import type {Memory} from '../../../tunnel/memory.ts';
import {Mux} from '../../../tunnel/mux.ts';
import type {MuxStream} from '../../../tunnel/types.ts';
import {acceptUpgrade} from '../../../tunnel/websocket/handshake.ts';
import {bindWebSocket} from '../../../tunnel/websocket.ts';
import {type Answer, answerItems} from '../../answer.ts';
import type {Log} from '../../log.ts';
import type {Interceptor} from '../interceptor.ts';
import type {InterceptClient} from '../subscriptions.ts';
import type {Subscribe} from './gather.ts';
import {isTrusted, occupy, placeAbove} from './meeting-point.ts';
import {
  BEAT_MS,
  LAST_PLACE,
  meetingPoint,
  PEER_METHOD,
  PEER_TOKEN,
  parseHandedOver,
} from './protocol.ts';

/** Agents of a pod at a time, each of which has a person at its other end. */
const MOST_PEERS = 64;
/** Calls of one: its subscriptions, and one more. */
const MOST_CALLS = 1_025;
/** How long a peer may take to greet, ms: it is on the same machine. */
const GREETING_MS = 5_000;
/** How long the others may take to move, ms: some tens to bind, to listen, to load rules. */
const HANDOVER_MS = 1_500;
const HANDOVER_LOOK_MS = 5;

export interface LeaderOptions {
  /** Of the interceptor's rules. */
  readonly id: string;
  readonly interceptor: Interceptor;
  /** Where it leads: `meetingPoint`. */
  readonly place: number;
  /** Somebody else leads since we were silent. Once. */
  readonly onDeposed: () => void;
  /** How subscriptions are made there. */
  readonly subscribe: Subscribe;
  /** Shared with the agent's own clients. */
  readonly memory: Memory | undefined;
  readonly random: () => number;
  readonly log: Log;
}

export class Leader {
  readonly counters = {peers: 0, strangers: 0, callsRefused: 0};
  readonly #options: LeaderOptions;
  readonly #server: Server;
  readonly #tunnels = new Set<Mux>();
  /** Who is to be told that we leave. */
  readonly #told = new Set<Answer>();
  #subscriptions = 0;
  #timer: NodeJS.Timeout | undefined;
  #isOver = false;

  constructor(options: LeaderOptions) {
    this.#options = options;
    const server = createServer(
      {
        headersTimeout: GREETING_MS,
        requestTimeout: GREETING_MS,
        connectionsCheckingInterval: GREETING_MS,
      },
      (_request, response) => void response.writeHead(426, {connection: 'close'}).end(),
    );
    server.maxConnections = MOST_PEERS;
    server.on('connection', (socket) => {
      if (isTrusted(socket)) return;
      this.counters.strangers++;
      socket.destroy();
    });
    server.on('upgrade', (request, socket, head) => {
      if (acceptUpgrade(request, socket)) bindWebSocket(socket, head, this.#serve());
    });
    this.#server = server;
  }

  /** Takes the name; false: another one leads. */
  async listen(): Promise<boolean> {
    if (!(await occupy(this.#server, meetingPoint(this.#options.place)))) return false;
    this.#server.on('error', ({message}) => this.#options.log.error('peers', {error: message}));
    this.#timer = setInterval(() => void this.#beat(), BEAT_MS);
    this.#timer.unref();
    return true;
  }

  /** Whether somebody else leads by now. */
  async isDeposed(): Promise<boolean> {
    const {place, onDeposed, log} = this.#options;
    if (this.#isOver || place === LAST_PLACE) return this.#isOver;
    if ((await placeAbove(place)) === undefined) return false;
    if (this.#isOver) return true;
    log.warn('deposed', {place});
    this.#giveUp(0);
    onDeposed();
    return true;
  }

  /** Has somebody else lead; resolves when nobody needs us any more, or should not. */
  async leave(): Promise<void> {
    if (this.#isOver) return;
    this.#giveUp(this.#subscriptions);
    const endsAt = performance.now() + HANDOVER_MS;
    while (this.#subscriptions > 0 && performance.now() < endsAt) {
      await new Promise((resolve) => setTimeout(resolve, HANDOVER_LOOK_MS));
    }
    if (this.#subscriptions > 0) {
      this.#options.log.warn('peers have not moved', {subscriptions: this.#subscriptions});
    }
  }

  close(): void {
    this.#isOver = true;
    clearInterval(this.#timer);
    this.#server.close();
    for (const tunnel of this.#tunnels) tunnel.close('GOING_AWAY');
  }

  /** `moving`: subscriptions that are to move together. */
  #giveUp(moving: number): void {
    this.#isOver = true;
    clearInterval(this.#timer);
    this.#server.close();
    for (const answer of this.#told) answer.item({moving});
  }

  /** It shows that it lives before it looks: who is about to lead in its place hears one or is seen. */
  async #beat(): Promise<void> {
    const {id, interceptor} = this.#options;
    const {port} = interceptor;
    if (port !== undefined) for (const answer of this.#told) answer.item({id, port});
    await this.isDeposed();
  }

  #serve(): Mux {
    const {memory, random, log} = this.#options;
    let calls = 0;
    const mux: Mux = new Mux(
      {
        role: 'agent',
        token: PEER_TOKEN,
        random,
        handshakeTimeoutMs: GREETING_MS,
        ...(memory !== undefined && {memory}),
      },
      {
        onReady: () => {
          this.counters.peers++;
          log.info('peer joined');
        },
        onOpen: (stream, body) => {
          if (stream.kind !== 'call' || calls >= MOST_CALLS) {
            this.counters.callsRefused++;
            stream.refuse(stream.kind === 'call' ? 'EMFILE' : 'EOPNOTSUPP');
            return;
          }
          calls++;
          this.#answer(stream, body, {client, onClosed: () => calls--});
        },
        onClose: (error) => {
          this.#tunnels.delete(mux);
          log.info('peer left', {reason: error?.code ?? 'NO_ERROR'});
        },
      },
    );
    this.#tunnels.add(mux);
    const client: InterceptClient = {
      open: (body, handler) => mux.open('tcp', body, handler),
      get isAway() {
        return !mux.isReady;
      },
    };
    return mux;
  }

  #answer(
    stream: MuxStream,
    body: Uint8Array,
    {client, onClosed}: {client: InterceptClient; onClosed: () => void},
  ): void {
    const {method, params} = parseCall(body);
    if (method === PEER_METHOD.lead) {
      answerItems(stream, (answer) => this.#lead(answer), onClosed);
    } else if (method === PEER_METHOD.intercept) {
      answerItems(stream, ({item}) => this.#subscribe(params, client, item), onClosed);
    } else {
      stream.refuse('ENOSYS');
      onClosed();
    }
  }

  #lead(answer: Answer): () => void {
    const {id, interceptor, log} = this.#options;
    const tell = async (): Promise<void> => {
      try {
        answer.item({id, port: await interceptor.ready()});
      } catch (error) {
        // Whoever asks gets no answer that makes sense, and goes on alone.
        log.warn('not leading', {reason: String(error)});
        answer.item({});
      }
    };
    void tell();
    this.#told.add(answer);
    return () => this.#told.delete(answer);
  }

  #subscribe(
    given: unknown,
    client: InterceptClient,
    onEvent: (event: InterceptEvent) => void,
  ): () => void {
    const params = parseHandedOver(given);
    if (params === undefined) {
      onEvent({event: 'failed', errno: 'EINVAL', message: 'the subscription makes no sense'});
      return () => undefined;
    }
    const {since, isMoved, isCaptured} = params;
    const standing = {since, isMoved, isCaptured};
    const end = this.#options.subscribe(params, client, onEvent, standing);
    this.#subscriptions++;
    return () => {
      this.#subscriptions--;
      end();
    };
  }
}
