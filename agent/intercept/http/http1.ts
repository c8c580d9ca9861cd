/**
 * One connection of HTTP/1: each of its requests goes to the application or to a program, and the answers come back in
 * the order of the requests.
 *
 * Theory of operation. Requests are dealt with one after the other: the next head is read when the answer to the last
 * request is on its way as a whole, and the request as well. A client that pipelines has its requests wait
 * in its own connection. Within one request everything flows at once, both ways, as fast as the slowest
 * reader: interim responses, an answer that comes before the request is complete, a body that waits for 100
 * (Continue). Heads and framing are read to know where messages end; what is sent on are the bytes that
 * came, but for the lines that `response-head.ts` changes.
 *
 * There is one connection to the application for each of the client's (mirrord makes one for each request): so limits,
 * timeouts and authentication that belong to a connection (NTLM) stay what they are, and when the
 * application ends it, so do we. It is made with the first request that is for the application. Likewise one for each client
 * that steals.
 *
 * The way out of every doubt is `relayRaw`: from some byte on, both directions are passed on as they come. That is
 * done, with whom the request in question is with, or else the application, when
 *
 *   - a head or a body is not exactly what RFC 9112 says, or a head takes longer than `HEAD_MS`;
 *   - the application says or ends something while nobody has asked it (a 408, an idle timeout);
 *   - a message says that it is the last one, ends with the connection, or leads to another protocol;
 *   - either side ends in the middle of a message.
 *
 * A request that a program refused, or dropped before the first byte of an answer, goes to the application when it was kept
 * (`maxBodyBytes`); else the client gets a 502. An application that can't be reached is a reset.
 */

import {BodyReader} from './body.ts';
import type {HttpCounters} from './counters.ts';
import {Exchange} from './exchange.ts';
import type {FilterSubject} from './filter/matcher.ts';
import {parseRequestHead, parseResponseHead} from './head.ts';
import {HeadBuffer} from './head-buffer.ts';
import {Leg} from './leg.ts';
import {MirrorCopies} from './mirror.ts';
import {connectProgram} from './program.ts';
import {relayRaw} from './raw.ts';
import {changeHead, emitBadGateway, responseChanges} from './response-head.ts';
import type {Route, Router} from './route.ts';
import type {Signal} from './signal.ts';
import type {HttpOptions, HttpSubscription, RedirectedConnection} from './types.ts';

/** How long a head may take from its first byte on; after that the application may wait for the rest of it. */
export const HEAD_MS = 10_000;

/** RFC 9110, section 9.2.2: they may be sent again when a connection ends without an answer. */
const IDEMPOTENT = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE']);

/** What a relay works with. */
export interface RelayContext {
  readonly connection: RedirectedConnection;
  readonly options: HttpOptions;
  readonly client: Leg;
  readonly signal: Signal;
  readonly router: Router;
  readonly counters: HttpCounters;
}

/** How to go on after a request: with the next, with both directions as they are, or not at all. */
type Next = 'request' | 'raw' | 'over';

export class Http1Relay {
  readonly #context: RelayContext;
  readonly #client: Leg;
  readonly #signal: Signal;
  readonly #programs = new Map<number, Leg>();
  readonly #copies = new Map<number, MirrorCopies>();
  #application: Leg | undefined;
  /** Who answered the last request, or has the connection as it is. */
  #last: Leg | undefined;

  constructor(context: RelayContext) {
    this.#context = context;
    this.#client = context.client;
    this.#signal = context.signal;
  }

  /** Resolves when the connection is over. */
  async run(): Promise<void> {
    try {
      for (;;) {
        const exchange = await this.#nextRequest();
        const next = typeof exchange === 'string' ? exchange : await this.#serve(exchange);
        if (next === 'request') continue;
        if (next === 'raw') await this.relayRest();
        break;
      }
    } finally {
      this.#close();
    }
  }

  /** Passes everything on as it comes: to whoever had the last request, or who takes what is no HTTP. */
  async relayRest(): Promise<void> {
    const leg = this.#last ?? (await this.#rawLeg());
    if (leg === undefined) this.#client.reset();
    else await relayRaw(this.#client, leg, this.#signal);
  }

  #close(): void {
    for (const leg of this.#programs.values()) leg.close();
    for (const copies of this.#copies.values()) copies.close();
    this.#application?.close();
  }

  // ---- requests ----

  async #nextRequest(): Promise<Exchange | 'raw' | 'over'> {
    const buffer = new HeadBuffer();
    let deadline: number | undefined;
    let cancel: (() => void) | undefined;
    const giveUp = (): 'raw' => {
      this.#client.unread(buffer.take());
      return 'raw';
    };
    try {
      for (;;) {
        const chunk = this.#client.read();
        if (chunk !== undefined) {
          const length = buffer.push(chunk);
          if (typeof length === 'number') return this.#parseRequest(buffer.take(), length);
          if (length === 'broken') {
            this.#noteAmbiguous();
            return giveUp();
          }
          deadline ??= performance.now() + HEAD_MS;
          cancel ??= this.#signal.notifyIn(HEAD_MS + 1);
          continue;
        }
        this.#dropIdlePrograms();
        if (this.#client.isBroken) return this.#breakOff();
        if (this.#client.isAtEnd) return this.#onLastRequest(giveUp);
        if (this.#last === this.#application && this.#application?.isStirring) return giveUp();
        if (deadline !== undefined && performance.now() >= deadline) {
          this.#last = undefined;
          return giveUp();
        }
        await this.#signal.wait();
      }
    } finally {
      cancel?.();
    }
  }

  #parseRequest(bytes: Buffer, length: number): Exchange | 'raw' {
    this.#client.unread(bytes.subarray(length));
    const headBytes = bytes.subarray(0, length);
    const head = parseRequestHead(headBytes);
    if (head !== undefined) return new Exchange(head, headBytes);
    this.#client.unread(headBytes);
    this.#noteAmbiguous();
    return 'raw';
  }

  /** What nobody can read in one way only is for the application, or for who owns the port. */
  #noteAmbiguous(): void {
    this.#context.counters.ambiguousConnections++;
    this.#last = undefined;
  }

  /** The client asks nothing more. Who answered last may hear of it, and end as well. */
  #onLastRequest(giveUp: () => 'raw'): 'raw' | 'over' {
    giveUp();
    if (this.#client.hasBytes) this.#last = undefined;
    if (this.#client.hasBytes || (this.#last !== undefined && !this.#last.isStirring)) return 'raw';
    this.#client.close();
    return 'over';
  }

  /** A program that ends its connection between requests gets another one with the next. */
  #dropIdlePrograms(): void {
    for (const [id, leg] of this.#programs) {
      if (leg.isStirring) this.#dropProgram(id, leg);
    }
  }

  #dropProgram(id: number, leg: Leg): void {
    this.#programs.delete(id);
    leg.close();
    if (this.#last === leg) this.#last = undefined;
  }

  #breakOff(): 'over' {
    for (const leg of this.#programs.values()) leg.reset();
    this.#application?.reset();
    this.#client.reset();
    return 'over';
  }

  // ---- one request ----

  async #serve(exchange: Exchange): Promise<Next> {
    const {options, counters} = this.#context;
    const known = this.#application;
    const found = this.#route(exchange);
    const route = found instanceof Promise ? await found : found;
    exchange.forgetPayload();
    if (exchange.reader.isBroken) return this.#putBack(exchange);
    if (!(await this.#choose(exchange, route))) {
      this.#client.reset();
      return 'over';
    }
    if (exchange.steal === undefined) counters.passedRequests++;
    else counters.stolenRequests++;
    const {head, leg} = exchange;
    // The application may be about to end a connection that was idle while programs answered.
    const isStale = leg === known && leg !== this.#last && IDEMPOTENT.has(head.method);
    if (exchange.steal !== undefined || isStale) exchange.save(options.maxBodyBytes);
    this.#last = leg;
    for (const subscription of route.mirrors) {
      const copies = this.#copiesFor(subscription);
      exchange.mirrors.push({copies, copy: copies.begin(head)});
    }
    exchange.write(exchange.headBytes);
    for (const chunk of exchange.early.splice(0)) exchange.write(chunk);
    return this.#finish(exchange, route);
  }

  async #finish(exchange: Exchange, route: Route): Promise<Next> {
    const isContested = this.#context.connection.subscriptions().some(({mode}) => mode === 'steal');
    const sending = exchange.reader.isDone ? undefined : this.#sendBody(exchange);
    if (sending === undefined) {
      exchange.isSent = true;
      if (route.mirrors.length > 0) exchange.endCopies();
    }
    const next = await this.#passResponse(exchange, isContested);
    exchange.isStopped = true;
    if (sending !== undefined) {
      this.#signal.notify();
      await sending;
      exchange.endCopies();
    }
    this.#last = exchange.leg;
    return next;
  }

  #route(exchange: Exchange): Route | Promise<Route> {
    const subscriptions = this.#context.connection.subscriptions();
    const {head} = exchange;
    let headers: string[] | undefined;
    let body: Promise<Uint8Array | undefined> | undefined;
    const subject: FilterSubject = {
      method: head.method,
      target: head.target,
      get headers() {
        headers ??= head.fields.map(({name, value}) => `${name}: ${value}`);
        return headers;
      },
      body: () => {
        body ??= this.#gatherBody(exchange);
        return body;
      },
    };
    return this.#context.router.route(subscriptions, subject, this.#context.options.jqTimeLimitMs);
  }

  /** The whole body, if it is small and comes soon. */
  async #gatherBody(exchange: Exchange): Promise<Uint8Array | undefined> {
    const {maxBodyBytes, bodyTimeoutMs} = this.#context.options;
    const {framing} = exchange.head;
    const {reader} = exchange;
    const deadline = performance.now() + bodyTimeoutMs;
    const cancel = this.#signal.notifyIn(bodyTimeoutMs + 1);
    const isTooLarge = framing.kind === 'length' && framing.bytes > maxBodyBytes;
    while (!isTooLarge && !reader.isDone && !reader.isBroken && exchange.isWithin(maxBodyBytes)) {
      const chunk = this.#client.read();
      if (chunk !== undefined) {
        const count = reader.take(chunk);
        exchange.early.push(chunk.subarray(0, count));
        this.#client.unread(chunk.subarray(count));
        continue;
      }
      if (this.#client.isBroken || this.#client.isAtEnd || performance.now() >= deadline) break;
      await this.#signal.wait();
    }
    cancel();
    if (reader.isDone && exchange.isWithin(maxBodyBytes)) return exchange.payload();
    this.#context.counters.unreadBodies++;
    return undefined;
  }

  /** Nothing was sent of a request that turned out to be ambiguous: all of it is passed on as it is. */
  #putBack(exchange: Exchange): 'raw' {
    this.#client.unread(Buffer.concat([exchange.headBytes, ...exchange.early]));
    this.#noteAmbiguous();
    return 'raw';
  }

  /** Sends the rest of the body, until it is complete or nobody wants it any more. */
  async #sendBody(exchange: Exchange): Promise<void> {
    const {reader} = exchange;
    const client = this.#client;
    while (!exchange.isStopped && !client.isBroken && !reader.isDone) {
      if (!exchange.isWritable) await this.#signal.wait();
      else {
        const chunk = client.read();
        if (chunk !== undefined) {
          const count = reader.take(chunk);
          exchange.write(chunk.subarray(0, count));
          client.unread(chunk.subarray(count));
        } else if (!client.isAtEnd) await this.#signal.wait();
        exchange.needsRaw = reader.isBroken || (client.isAtEnd && !reader.isDone);
        if (exchange.needsRaw) break;
      }
    }
    if (exchange.needsRaw && reader.isBroken) this.#context.counters.ambiguousConnections++;
    exchange.isSent = reader.isDone;
    this.#signal.notify();
  }

  // ---- who is asked ----

  /** Decides who is asked, and connects; false if nobody can be. */
  async #choose(exchange: Exchange, route: Route): Promise<boolean> {
    if (route.steal !== undefined) {
      exchange.steal = route.steal;
      exchange.leg = await this.#programLeg(route.steal);
      if (exchange.leg !== undefined) return true;
      this.#context.counters.movedRequests++;
      exchange.steal = undefined;
    }
    exchange.leg = await this.#applicationLeg();
    return exchange.leg !== undefined;
  }

  async #applicationLeg(): Promise<Leg | undefined> {
    if (this.#application !== undefined && !this.#application.isStirring) return this.#application;
    this.#application?.close();
    this.#application = undefined;
    try {
      const stream = await this.#context.connection.connectApplication();
      this.#application = new Leg(stream, this.#signal);
    } catch {
      // As it would be without us, if only later.
    }
    return this.#application;
  }

  async #programLeg(subscription: HttpSubscription): Promise<Leg | undefined> {
    const known = this.#programs.get(subscription.id);
    if (known !== undefined && !known.isStirring) return known;
    if (known !== undefined) this.#dropProgram(subscription.id, known);
    const stream = await connectProgram(subscription);
    if (stream === undefined) return undefined;
    const leg = new Leg(stream, this.#signal);
    this.#programs.set(subscription.id, leg);
    return leg;
  }

  /** Who takes what is no HTTP: the client that steals everything, or the application. */
  async #rawLeg(): Promise<Leg | undefined> {
    const owner = this.#context.connection
      .subscriptions()
      .find(({mode, filter}) => mode === 'steal' && filter === undefined);
    const leg = owner === undefined ? undefined : await this.#programLeg(owner);
    return leg ?? this.#applicationLeg();
  }

  #copiesFor(subscription: HttpSubscription): MirrorCopies {
    let copies = this.#copies.get(subscription.id);
    if (copies === undefined) {
      copies = new MirrorCopies(subscription, this.#context.counters);
      this.#copies.set(subscription.id, copies);
    }
    return copies;
  }

  // ---- responses ----

  async #passResponse(exchange: Exchange, isContested: boolean): Promise<Next> {
    const client = this.#client;
    let buffer = new HeadBuffer();
    let hasBegun = false;
    for (;;) {
      const {leg} = exchange;
      if (leg === undefined) return 'over';
      const chunk = leg.read();
      if (chunk !== undefined) {
        hasBegun = true;
        exchange.forgetSaved();
        const length = buffer.push(chunk);
        if (length === 'more') continue;
        const bytes = buffer.take();
        if (length === 'broken') {
          leg.unread(bytes);
          return 'raw';
        }
        const head = parseResponseHead(bytes.subarray(0, length), exchange.head);
        if (head === undefined) {
          leg.unread(bytes);
          return 'raw';
        }
        if (head.isInterim) {
          client.write(bytes.subarray(0, length));
          leg.unread(bytes.subarray(length));
          buffer = new HeadBuffer();
          continue;
        }
        const answerer = exchange.steal === undefined ? 'application' : 'program';
        const changes = responseChanges(answerer, isContested, this.#context.options);
        const reader = new BodyReader(head.framing);
        const count = reader.take(bytes.subarray(length));
        if (changes.length === 0) client.write(bytes.subarray(0, length + count));
        else {
          const changed = changeHead(bytes.subarray(0, length), changes);
          const body = bytes.subarray(length, length + count);
          client.write(count === 0 ? changed : Buffer.concat([changed, body]));
        }
        leg.unread(bytes.subarray(length + count));
        const next = await this.#passBody(exchange, leg, reader);
        if (next !== 'request') return next;
        return head.isLast || head.isSwitch ? 'raw' : this.#awaitRequest(exchange, leg);
      }
      if (client.isBroken) return this.#breakOff();
      const isLost = leg.isBroken || leg.isAtEnd;
      if (!hasBegun && (isLost || this.#isMisplaced(exchange))) {
        const next = await this.#onLost(exchange);
        if (next !== 'request') return next;
        continue;
      }
      if (isLost || exchange.needsRaw) {
        leg.unread(buffer.take());
        return 'raw';
      }
      if (exchange.isSent && client.isAtEnd) leg.end();
      await this.#signal.wait();
    }
  }

  async #passBody(exchange: Exchange, leg: Leg, reader: BodyReader): Promise<Next> {
    const client = this.#client;
    while (!reader.isDone) {
      if (reader.isBroken || exchange.needsRaw) return 'raw';
      if (client.isBroken) return this.#breakOff();
      if (!client.isWritable) await this.#signal.wait();
      else {
        const chunk = leg.read();
        if (chunk !== undefined) {
          const count = reader.take(chunk);
          client.write(chunk.subarray(0, count));
          leg.unread(chunk.subarray(count));
        } else if (leg.isBroken || leg.isAtEnd) return 'raw';
        else {
          if (exchange.isSent && client.isAtEnd) leg.end();
          await this.#signal.wait();
        }
      }
    }
    return 'request';
  }

  /** The answer is complete; the request may not be. */
  async #awaitRequest(exchange: Exchange, leg: Leg): Promise<Next> {
    while (!exchange.isSent) {
      if (this.#client.isBroken) return this.#breakOff();
      if (exchange.needsRaw || leg.isStirring) return 'raw';
      await this.#signal.wait();
    }
    return 'request';
  }

  /** A program has a request of which the application alone is to make sense, and nothing was said to it yet. */
  #isMisplaced({steal, reader, saved}: Exchange): boolean {
    return steal !== undefined && reader.isBroken && saved !== undefined;
  }

  /** Whoever was asked is gone without a word, or may not be asked any more. `request`: another one is asked. */
  async #onLost(exchange: Exchange): Promise<Next> {
    const {counters} = this.#context;
    exchange.isMoving = true;
    if (exchange.steal === undefined) {
      if (exchange.saved === undefined || exchange.needsRaw) return 'raw';
    } else {
      counters.movedRequests++;
      this.#leave(exchange.steal);
    }
    const leg = exchange.saved === undefined ? undefined : await this.#applicationLeg();
    const {saved} = exchange;
    if (saved === undefined) {
      counters.failedRequests++;
      this.#client.write(emitBadGateway(exchange.head.method));
      this.#client.close();
      return 'over';
    }
    if (leg === undefined) {
      this.#client.reset();
      return 'over';
    }
    exchange.steal = undefined;
    exchange.move(leg, saved);
    exchange.forgetSaved();
    exchange.isMoving = false;
    this.#signal.notify();
    return exchange.needsRaw ? 'raw' : 'request';
  }

  #leave({id}: HttpSubscription): void {
    const leg = this.#programs.get(id);
    this.#programs.delete(id);
    leg?.reset();
  }
}
