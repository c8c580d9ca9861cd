/**
 * One connection of HTTP/2 with prior knowledge (h2c; gRPC): each of its streams goes to the application or to a
 * program.
 *
 * Theory of operation. Node's own HTTP/2 is the server of the client's connection, and the client of one session to
 * the application and of one to each program. So requests and responses stay what they are (order and repetition of
 * headers, interim responses, trailers, streaming, codes of resets), while frames are made anew. What belongs to a
 * connection is ours, on each side by itself: SETTINGS, PING, windows, and the compression of headers. Server push
 * and extended CONNECT are not offered, since whether the application does is not known yet when the client
 * asks for it.
 *
 * A GOAWAY of the application becomes ours, after its streams: the client then connects anew. A program's does
 * not: the next stream makes another session, or goes to the application.
 */

import {
  type ClientHttp2Session,
  constants,
  performServerHandshake,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import {Socket} from 'node:net';
import type {RelayContext} from './context.ts';
import type {FilterSubject} from './filter/matcher.ts';
import {Http2Exchange} from './http2-exchange.ts';
import {SERVER_LIMITS, SERVER_WINDOW_BYTES} from './http2-limits.ts';
import {Http2Mirror} from './http2-mirror.ts';
import {type RawHeaders, startRequest, Upstream} from './http2-upstream.ts';
import {connectProgram} from './program.ts';
import {responseChanges} from './response-head.ts';
import type {HttpSubscription} from './types.ts';

const {NGHTTP2_NO_ERROR, NGHTTP2_PROTOCOL_ERROR, NGHTTP2_REFUSED_STREAM} = constants;

/** Resolves when the connection is over. */
export function relayHttp2(context: RelayContext): Promise<void> {
  return new Promise((resolve) => {
    new Http2Relay(context, resolve);
  });
}

class Http2Relay {
  readonly #context: RelayContext;
  readonly #session: ServerHttp2Session;
  readonly #application: Upstream;
  readonly #programs = new Map<number, Upstream>();
  readonly #mirrors = new Map<number, Http2Mirror>();

  constructor(context: RelayContext, onClose: () => void) {
    this.#context = context;
    this.#application = new Upstream(
      async () => new Socket({fd: context.connection.dialApplication()}).setNoDelay(),
      (code) => this.#onApplicationGoaway(code),
    );
    const {socket} = context.connection;
    socket.allowHalfOpen = false;
    this.#session = performServerHandshake(socket, SERVER_LIMITS);
    this.#session.setLocalWindowSize(SERVER_WINDOW_BYTES);
    this.#session.on('stream', (stream, _headers, flags, raw?: string[]) => {
      void this.#serve(stream, raw ?? [], flags);
    });
    this.#session.on('error', () => {
      context.counters.brokenSessions++;
    });
    const forget = context.connection.lettingGo.onSaid(() => this.#session.close());
    this.#session.on('close', () => {
      forget();
      this.#application.close();
      for (const program of this.#programs.values()) program.close();
      onClose();
    });
  }

  #onApplicationGoaway(code: number): void {
    if (this.#session.destroyed) return;
    if (code !== NGHTTP2_NO_ERROR) this.#session.goaway(code);
    this.#session.close();
  }

  async #serve(stream: ServerHttp2Stream, headers: RawHeaders, flags: number): Promise<void> {
    const {options, counters, router, connection} = this.#context;
    let steal: HttpSubscription | undefined;
    const exchange: Http2Exchange = new Http2Exchange(
      stream,
      {headers, flags},
      {
        saveLimit: options.maxBodyBytes,
        onLost: () => {
          const asked = steal;
          steal = undefined;
          void this.#onLost(exchange, asked);
        },
      },
    );
    const subject = subjectOf(headers, async () => {
      const body = await exchange.gather(options.maxBodyBytes, options.bodyTimeoutMs);
      if (body === undefined) counters.unreadBodies++;
      return body;
    });
    const route = await router.route(connection.subscriptions(), subject, options.jqTimeLimitMs);
    if (stream.destroyed) return;
    for (const mirror of route.mirrors) {
      const copy = this.#mirror(mirror).begin(headers, exchange.hasNoBody);
      if (copy !== undefined) exchange.addCopy(copy);
    }
    steal = route.steal;
    if (steal !== undefined) {
      const session = await this.#program(steal).session();
      if (session !== undefined) {
        counters.stolenRequests++;
        this.#ask(exchange, session, 'program');
        return;
      }
      counters.movedRequests++;
      steal = undefined;
    }
    await this.#pass(exchange);
  }

  async #pass(exchange: Http2Exchange): Promise<void> {
    const session = await this.#application.session();
    if (session === undefined) return exchange.refuse(NGHTTP2_REFUSED_STREAM);
    this.#context.counters.passedRequests++;
    this.#ask(exchange, session, 'application');
  }

  #ask(
    exchange: Http2Exchange,
    session: ClientHttp2Session,
    answerer: 'application' | 'program',
  ): void {
    if (exchange.stream.destroyed) return;
    const {connection, options} = this.#context;
    const isContested = connection.subscriptions().some(({mode}) => mode === 'steal');
    const changes = responseChanges(answerer, isContested, options);
    const request = startRequest(session, exchange.headers, exchange.hasNoBody);
    if (request === undefined) exchange.refuse(NGHTTP2_PROTOCOL_ERROR);
    else exchange.ask(request, {changes, isKept: answerer === 'program'});
  }

  /** A program's session ended, or it reset the stream, before there was an answer. */
  async #onLost(exchange: Http2Exchange, steal: HttpSubscription | undefined): Promise<void> {
    const {counters} = this.#context;
    if (steal === undefined) return exchange.refuse();
    counters.movedRequests++;
    if (exchange.canMove) return this.#pass(exchange);
    counters.failedRequests++;
    exchange.fail();
  }

  #program(subscription: HttpSubscription): Upstream {
    let upstream = this.#programs.get(subscription.id);
    if (upstream === undefined) {
      upstream = new Upstream(() => connectProgram(subscription));
      this.#programs.set(subscription.id, upstream);
    }
    return upstream;
  }

  #mirror(subscription: HttpSubscription): Http2Mirror {
    let mirror = this.#mirrors.get(subscription.id);
    if (mirror === undefined) {
      mirror = new Http2Mirror(subscription, this.#program(subscription), this.#context.counters);
      this.#mirrors.set(subscription.id, mirror);
    }
    return mirror;
  }
}

function subjectOf(raw: RawHeaders, body: () => Promise<Buffer | undefined>): FilterSubject {
  const headers: string[] = [];
  let method = '';
  let target = '';
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = raw[at] ?? '';
    const value = raw[at + 1] ?? '';
    if (name === ':method') method = value;
    else if (name === ':path') target = value;
    else if (!name.startsWith(':')) headers.push(`${name}: ${value}`);
  }
  let gathered: Promise<Buffer | undefined> | undefined;
  return {
    method,
    target,
    headers,
    body: () => {
      gathered ??= body();
      return gathered;
    },
  };
}
