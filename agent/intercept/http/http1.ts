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
 * Whatever happens to a connection (`leg.ts`) makes the relay go as far as it can, at once: what has just come is passed
 * on from the memory that it was read into. Only where a filter has to think, or a program to be connected,
 * does it wait for something else, in the stage `asking`; what comes meanwhile stays in the legs.
 *
 * The way out of every doubt is the stage `raw`: from some byte on, both directions are passed on as they come. That is
 * done, with whom the request in question is with, or else the application, when
 *
 *   - a head or a body is not exactly what RFC 9112 says, or a head takes longer than `HEAD_MS`;
 *   - the application says or ends something while nobody has asked it (a 408, an idle timeout);
 *   - a message says that it is the last one, ends with the connection, or leads to another protocol;
 *   - either side ends in the middle of a message.
 *
 * When the connection is to be let go (`letting-go.ts`), the next answer says that it is the last one; a client that asks nothing is
 * left in peace for as long as any server would leave it. What is `raw` goes on.
 *
 * A request that a program refused, or dropped before the first byte of an answer, goes to the application when it was kept
 * (`maxBodyBytes`); else the client gets a 502. An application that can't be reached is a reset.
 */

import {BodyGatherer} from './body-gatherer.ts';
import type {RelayContext} from './context.ts';
import type {Exchange} from './exchange.ts';
import {connectionOptions, type ResponseHead} from './head.ts';
import {LastingChanges} from './lasting-changes.ts';
import type {Leg} from './leg.ts';
import {Parties} from './parties.ts';
import {pump} from './raw.ts';
import {RequestReader} from './request-reader.ts';
import {type Changing, Response} from './response.ts';
import {closing, emitBadGateway, type HeaderChange} from './response-head.ts';
import type {Route} from './route.ts';
import type {Signal} from './signal.ts';
import {RequestSubject} from './subject.ts';

/** RFC 9110, section 9.2.2: they may be sent again when a connection ends without an answer. */
const IDEMPOTENT = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE']);

type Stage =
  /** The next request is read. */
  | {readonly kind: 'request'}
  /** It is not known yet who is asked. */
  | {readonly kind: 'asking'}
  /** A request is on its way, and its answer. */
  | {readonly kind: 'exchange'; readonly exchange: Exchange; readonly response: Response}
  | {readonly kind: 'raw'; readonly leg: Leg; isUpOver: boolean; isDownOver: boolean}
  /** The last answer was given, and said so: the client is to end. */
  | {readonly kind: 'farewell'}
  | {readonly kind: 'over'};

const REQUEST: Stage = {kind: 'request'};
const ASKING: Stage = {kind: 'asking'};
const FAREWELL: Stage = {kind: 'farewell'};
const OVER: Stage = {kind: 'over'};

export class Http1Relay {
  readonly #context: RelayContext;
  readonly #client: Leg;
  readonly #signal: Signal;
  readonly #parties: Parties;
  readonly #reader: RequestReader;
  readonly #lastingChanges: LastingChanges;
  readonly #over = Promise.withResolvers<void>();
  readonly #changing: Changing = {
    changesOf: (exchange, head, bytes) => this.#changes(exchange, head, bytes),
    onChanged: (length, more) => this.#context.connection.passage.change(length, more),
  };
  #stage: Stage = REQUEST;
  /** The answer that is on its way is the last one. */
  #isLast = false;
  #gatherer: BodyGatherer | undefined;
  #isStepping = false;
  #hasNews = false;

  constructor(context: RelayContext, client: Leg, signal: Signal) {
    this.#context = context;
    this.#client = client;
    this.#signal = signal;
    this.#parties = new Parties(context, signal);
    this.#lastingChanges = new LastingChanges(context);
    this.#reader = new RequestReader(context, client, this.#parties, signal);
  }

  /** Resolves when the connection is over; `isRaw`: it is no HTTP. Rejects for a mistake of ours. */
  async run(isRaw: boolean): Promise<void> {
    this.#signal.listener = () => this.#step();
    if (isRaw) this.#relayRest();
    const forget = this.#context.connection.lettingGo.onSaid(() => this.#signal.notify());
    this.#step();
    try {
      await this.#over.promise;
    } finally {
      this.#signal.listener = undefined;
      forget();
      this.#reader.close();
      this.#parties.close();
    }
  }

  // ---- stages ----

  /** Goes as far as it can. */
  #step(): void {
    this.#hasNews = true;
    if (this.#isStepping) return;
    this.#isStepping = true;
    try {
      while (this.#hasNews) {
        this.#hasNews = false;
        this.#advance();
      }
    } catch (error) {
      this.#stage = OVER;
      this.#over.reject(error);
    } finally {
      this.#isStepping = false;
    }
  }

  #advance(): void {
    let before: Stage;
    do {
      before = this.#stage;
      if (before.kind === 'request') this.#readRequest();
      else if (before.kind === 'exchange') this.#passOn(before.exchange, before.response);
      else if (before.kind === 'raw') this.#passRaw(before);
      else if (before.kind === 'farewell') this.#awaitEnd();
      else if (before.kind === 'asking' && this.#gatherer?.step()) this.#gatherer = undefined;
    } while (this.#stage !== before);
  }

  /** Waits for something else than the connections. */
  #ask<T>(promise: Promise<T>, andThen: (value: T) => void): void {
    this.#stage = ASKING;
    const goOn = (value: T): void => {
      if (this.#stage !== ASKING) return;
      andThen(value);
      this.#step();
    };
    promise.then(goOn).catch((error) => {
      this.#stage = OVER;
      this.#over.reject(error);
    });
  }

  #finish(): void {
    this.#stage = OVER;
    this.#over.resolve();
  }

  /** Neither side can go on. */
  #breakOff(): void {
    this.#parties.reset();
    this.#client.reset();
    this.#finish();
  }

  // ---- as it is ----

  /** Passes everything on as it comes: to whoever had the last request, or who takes what is no HTTP. */
  #relayRest(): void {
    const {last} = this.#parties;
    if (last !== undefined) this.#enterRaw(last);
    else this.#ask(this.#parties.connectRaw(), (leg) => this.#enterRaw(leg));
  }

  #enterRaw(leg: Leg | undefined): void {
    if (leg === undefined) {
      this.#breakOff();
      return;
    }
    if (leg !== this.#parties.application) this.#context.connection.passage.hold();
    this.#stage = {kind: 'raw', leg, isUpOver: false, isDownOver: false};
  }

  #passRaw(stage: Stage & {readonly kind: 'raw'}): void {
    stage.isUpOver ||= pump(this.#client, stage.leg);
    stage.isDownOver ||= pump(stage.leg, this.#client);
    if (stage.isUpOver && stage.isDownOver) this.#finish();
  }

  // ---- for whom a request is ----

  #readRequest(): void {
    // Who does not read his answers is not asked for more of them.
    if (!this.#client.isWritable) return;
    const exchange = this.#reader.read();
    if (exchange === 'wait') return;
    if (exchange === 'raw') this.#relayRest();
    else if (exchange === 'over') this.#finish();
    else if (exchange === 'broken') this.#breakOff();
    else this.#route(exchange);
  }

  #route(exchange: Exchange): void {
    const {connection, router, options} = this.#context;
    const known = this.#parties.application;
    const subject = new RequestSubject(exchange, this.#gather);
    const route = router.route(connection.subscriptions(), subject, options.jqTimeLimitMs);
    if (!(route instanceof Promise)) {
      this.#onRoute(exchange, route, known);
      return;
    }
    exchange.keep();
    this.#ask(route, (found) => this.#onRoute(exchange, found, known));
  }

  readonly #gather = async (exchange: Exchange): Promise<Uint8Array | undefined> => {
    const {options, counters} = this.#context;
    const gatherer = new BodyGatherer(exchange, this.#client, {...options, signal: this.#signal});
    if (!gatherer.step()) this.#gatherer = gatherer;
    const body = await gatherer.body;
    if (body === undefined) counters.unreadBodies++;
    return body;
  };

  #onRoute(exchange: Exchange, route: Route, known: Leg | undefined): void {
    exchange.forgetPayload();
    if (exchange.reader.isBroken) {
      this.#putBack(exchange);
      return;
    }
    const {steal} = route;
    if (steal === undefined) {
      this.#send(exchange, route, known);
      return;
    }
    const onProgram = (leg: Leg | undefined): void => {
      if (leg === undefined) this.#context.counters.movedRequests++;
      else {
        exchange.steal = steal;
        exchange.leg = leg;
      }
      this.#send(exchange, route, known);
    };
    const leg = this.#parties.connectProgram(steal);
    if (!(leg instanceof Promise)) {
      onProgram(leg);
      return;
    }
    exchange.keep();
    this.#ask(leg, onProgram);
  }

  /** Nothing was sent of a request that turned out to be ambiguous: all of it is passed on as it is. */
  #putBack(exchange: Exchange): void {
    this.#client.unread(Buffer.concat([exchange.headBytes, ...exchange.early]));
    this.#reader.noteAmbiguous();
    this.#relayRest();
  }

  // ---- a request and its answer ----

  /** Asks whoever is to be asked. `known`: the connection to the application from before this request. */
  #send(exchange: Exchange, route: Route, known: Leg | undefined): void {
    const {options, counters} = this.#context;
    const parties = this.#parties;
    exchange.leg ??= parties.connectApplication();
    const {head, leg} = exchange;
    if (leg === undefined) {
      this.#client.reset();
      this.#finish();
      return;
    }
    if (exchange.steal === undefined) counters.passedRequests++;
    else {
      counters.stolenRequests++;
      this.#context.connection.passage.hold();
    }
    // The application may be about to end a connection that was idle while programs answered.
    const isStale = leg === known && leg !== parties.last && IDEMPOTENT.has(head.method);
    if (exchange.steal !== undefined || isStale) exchange.save(options.maxBodyBytes);
    parties.last = leg;
    exchange.begin(
      route.mirrors.map((subscription) => {
        const copies = parties.copiesFor(subscription);
        return {copies, copy: copies.begin(head)};
      }),
    );
    const response = new Response(exchange, this.#client, this.#changing);
    this.#stage = {kind: 'exchange', exchange, response};
  }

  #changes(
    {steal, isSent}: Exchange,
    {isSwitch, lines}: ResponseHead,
    bytes: Buffer,
  ): readonly HeaderChange[] {
    const {connection} = this.#context;
    const changes = this.#lastingChanges.of(steal === undefined ? 'application' : 'program');
    // Requests that are there already are answered.
    if (!connection.lettingGo.isSaid || isSwitch || !isSent || this.#client.hasBytes)
      return changes;
    this.#isLast = true;
    return [...changes, closing(connectionOptions(bytes, lines))];
  }

  #passOn(exchange: Exchange, response: Response): void {
    if (!exchange.isSent) this.#sendBody(exchange);
    const progress = response.step();
    if (progress === 'wait') return;
    if (progress === 'lost') {
      this.#onLost(exchange);
      return;
    }
    exchange.endCopies();
    this.#parties.last = exchange.leg;
    if (progress === 'request' && this.#isLast) this.#takeLeave();
    else if (progress === 'request') this.#awaitRequest();
    else if (progress === 'raw') this.#relayRest();
    else this.#breakOff();
  }

  #awaitRequest(): void {
    this.#stage = REQUEST;
    // A request that is here already may go another way again.
    const isIdle = !this.#client.hasBytes && this.#parties.application?.hasBytes !== true;
    if (isIdle) this.#context.connection.passage.settle();
  }

  /** RFC 9112, section 9.6: half of it is closed, and the client has all the time that it needs to read the answer. */
  #takeLeave(): void {
    this.#context.connection.passage.hold();
    this.#client.end();
    this.#parties.close();
    this.#stage = FAREWELL;
  }

  #awaitEnd(): void {
    while (this.#client.read() !== undefined); // what it asks after that, it knows to be lost
    if (this.#client.isAtEnd || this.#client.isBroken) this.#finish();
  }

  /** Sends of the rest of the body what is there. */
  #sendBody(exchange: Exchange): void {
    const {reader} = exchange;
    const client = this.#client;
    while (!exchange.needsRaw && !reader.isDone && !client.isBroken && exchange.isWritable) {
      const chunk = client.read();
      if (chunk !== undefined) {
        const count = reader.take(chunk);
        exchange.write(chunk.subarray(0, count));
        client.unread(chunk.subarray(count));
      }
      exchange.needsRaw = reader.isBroken || (client.isAtEnd && !reader.isDone);
      if (chunk === undefined) break;
    }
    if (exchange.needsRaw && reader.isBroken) this.#context.counters.ambiguousConnections++;
    exchange.isSent = reader.isDone;
    if (exchange.isSent) exchange.endCopies();
  }

  /** Whoever was asked is gone without a word, or may not be asked any more. */
  #onLost(exchange: Exchange): void {
    const {counters} = this.#context;
    const {saved, steal} = exchange;
    if (steal === undefined && (saved === undefined || exchange.needsRaw)) {
      this.#parties.last = exchange.leg;
      this.#relayRest();
      return;
    }
    this.#context.connection.passage.hold();
    if (steal !== undefined) {
      counters.movedRequests++;
      this.#parties.leave(steal);
    }
    if (saved === undefined) {
      counters.failedRequests++;
      this.#client.write(emitBadGateway(exchange.head.method));
      this.#client.close();
      this.#finish();
      return;
    }
    const leg = this.#parties.connectApplication();
    if (leg === undefined) {
      this.#client.reset();
      this.#finish();
      return;
    }
    exchange.move(leg, saved);
    this.#parties.last = leg;
    if (exchange.needsRaw) {
      exchange.endCopies();
      this.#relayRest();
      return;
    }
    const response = new Response(exchange, this.#client, this.#changing);
    this.#stage = {kind: 'exchange', exchange, response};
  }
}
