/**
 * Whose a stream is: the application's, or a program's; and who gets copies. One that filters decide at once, or soon, and do
 * not want, is passed on as it is; any other becomes an exchange.
 */

import type {FilterSubject} from '../filter/matcher.ts';
import type {Route} from '../route.ts';
import type {HttpSubscription} from '../types.ts';
import {Backlog} from './backlog.ts';
import {Copies} from './copies.ts';
import type {Exchange, Request} from './exchange.ts';
import {type RequestHead, requestHeadOf} from './head.ts';
import {Hold} from './hold.ts';
import type {Link} from './link.ts';
import type {HeadersExtras} from './output.ts';
import type {Parts} from './parts.ts';
import {passHead} from './pass-head.ts';
import type {ProgramConnection} from './program-connection.ts';
import {REFUSED_STREAM} from './protocol.ts';
import {Stream} from './streams.ts';

export class Routing {
  readonly #parts: Parts;
  readonly #copies = new Map<number, Copies>();
  /** A request for which others wait; and what wants to know when they don't any longer. */
  #hold: Hold | undefined;
  #onHoldOver: (() => void) | undefined;
  #isClosed = false;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** Begins a stream of the client's; `extras` are what its HEADERS has beside the block. */
  begin(id: number, request: Request, extras: HeadersExtras | undefined): void {
    const {router, options, connection} = this.#parts.context;
    const head = requestHeadOf(request.block);
    const subscriptions = connection.subscriptions();
    const stream = new Stream(id);
    if (!head.isClear || subscriptions.length === 0) {
      this.#pass(stream, request, extras);
      return;
    }
    if (head.verdict?.subscriptions === subscriptions) {
      this.#onRoute(stream, request, {route: head.verdict.route, extras});
      return;
    }
    const subject = this.#subjectOf(stream, head, request);
    const route = router.route(subscriptions, subject, options.jqTimeLimitMs);
    if (!(route instanceof Promise)) {
      head.verdict = {subscriptions, route};
      this.#onRoute(stream, request, {route, extras});
      this.#release();
      return;
    }
    if (this.#parts.isVerbatim) this.#holdFor(stream, request);
    else this.#think(stream, request);
    this.#parts.after(route, (found) => {
      // It may have gone with its stream, or with its connection.
      if (stream.exchange === undefined ? this.#hold === undefined : stream.exchange.isOver) return;
      this.#onRoute(stream, request, {route: found, extras: undefined});
      this.#release();
    });
  }

  /** Nobody waits any more: the connection goes on without filters, or not at all. */
  close(): void {
    this.#isClosed = true;
    this.#hold?.end();
    this.#hold = undefined;
  }

  /** Others pass while it is found out whose a stream is. */
  #think(stream: Stream, request: Request): void {
    const exchange = this.#parts.exchanges.of(stream, request);
    exchange.onAbandoned = () => this.#onLost(stream, exchange);
  }

  /** Others wait while it is. */
  #holdFor(stream: Stream, request: Request): Hold {
    if (this.#hold !== undefined) return this.#hold;
    const {client, context} = this.#parts;
    const hold = new Hold(client, request.isWhole, context.options.holdMs);
    this.#hold = hold;
    this.#parts.after(hold.over, () => {
      if (this.#hold !== hold) return;
      this.#think(stream, request);
      this.#onHoldOver?.();
      this.#release();
    });
    return hold;
  }

  #release(): void {
    const hold = this.#hold;
    this.#hold = this.#onHoldOver = undefined;
    hold?.release();
  }

  #subjectOf(
    stream: Stream,
    {method, target, headers}: RequestHead,
    request: Request,
  ): FilterSubject {
    const {options, counters} = this.#parts.context;
    const {maxBodyBytes, bodyTimeoutMs} = options;
    let gathered: Promise<Buffer | undefined> | undefined;
    const gather = async (): Promise<Buffer | undefined> => {
      if (this.#isClosed) return undefined;
      const found = this.#parts.isVerbatim
        ? await this.#readAhead(stream, request)
        : await this.#parts.exchanges.of(stream, request).gather(maxBodyBytes, bodyTimeoutMs);
      if (found === undefined) counters.unreadBodies++;
      return found;
    };
    const body = (): Promise<Buffer | undefined> => {
      gathered ??= gather();
      return gathered;
    };
    return {method, target, headers, body};
  }

  /** Reads a body out of what waits; if it must not wait any longer, as it comes. */
  #readAhead(stream: Stream, request: Request): Promise<Buffer | undefined> {
    const {maxBodyBytes, bodyTimeoutMs} = this.#parts.context.options;
    const hold = this.#holdFor(stream, request);
    return new Promise((resolve) => {
      void hold.body(maxBodyBytes).then(resolve);
      this.#onHoldOver = () => {
        const exchange = this.#parts.exchanges.of(stream, request);
        void exchange.gather(maxBodyBytes, bodyTimeoutMs).then(resolve);
      };
    });
  }

  #onRoute(
    stream: Stream,
    request: Request,
    {route, extras}: {readonly route: Route; readonly extras: HeadersExtras | undefined},
  ): void {
    const {steal} = route;
    const exchange =
      steal === undefined ? stream.exchange : this.#parts.exchanges.of(stream, request);
    for (const mirror of route.mirrors) this.#copy(stream, request, mirror);
    if (steal === undefined || exchange === undefined) {
      this.#pass(stream, request, extras);
      return;
    }
    exchange.onAbandoned = () => this.#onLost(stream, exchange);
    this.#parts.streams.isAligned = false;
    const found = this.#parts.programs.connect(steal);
    const go = (one: ProgramConnection | undefined): void => this.#steal(stream, exchange, one);
    if (found instanceof Promise) this.#parts.after(found, go);
    else go(found);
  }

  #steal(stream: Stream, exchange: Exchange, connection: ProgramConnection | undefined): void {
    if (exchange.isOver) return;
    const {counters} = this.#parts.context;
    if (connection !== undefined) {
      counters.stolenRequests++;
      this.#parts.exchanges.askedCount++;
      exchange.ask(connection);
      return;
    }
    counters.movedRequests++;
    this.#pass(stream, exchange, undefined);
  }

  /** The program is gone before it answered, or has refused to look at the request. */
  #onLost(stream: Stream, exchange: Exchange): void {
    if (exchange.isOver) return;
    const {counters} = this.#parts.context;
    counters.movedRequests++;
    if (exchange.rest !== undefined) {
      this.#pass(stream, exchange, undefined);
      return;
    }
    counters.failedRequests++;
    exchange.fail();
  }

  #copy(stream: Stream, {block, isWhole}: Request, mirror: HttpSubscription): void {
    let copies = this.#copies.get(mirror.id);
    if (copies === undefined) {
      copies = new Copies(mirror, this.#parts.context.counters);
      this.#copies.set(mirror.id, copies);
    }
    const copy = copies.begin(this.#parts.programs.connect(mirror), block.fields, isWhole);
    if (copy === undefined) return;
    if (stream.exchange !== undefined) stream.exchange.addCopy(copy);
    else {
      stream.copies.push(copy);
      if (isWhole) copy.end(undefined);
    }
  }

  /** Gives a request to the application. */
  #pass(stream: Stream, {block, isWhole}: Request, extras: HeadersExtras | undefined): void {
    const {application, streams, up, toApplication, context, isVerbatim} = this.#parts;
    const {exchange} = stream;
    if (isVerbatim && application !== undefined) {
      this.#passVerbatim(stream, {block, isWhole}, application);
      return;
    }
    if (application === undefined || toApplication === undefined || !streams.give(stream)) {
      if (exchange === undefined) application?.heads.skip();
      streams.isAligned = false;
      streams.ofClient.set(stream.id, stream);
      streams.resetClient(stream, REFUSED_STREAM);
      return;
    }
    context.counters.passedRequests++;
    const {applicationId} = stream;
    stream.isSent = isWhole;
    const head = {fields: block.fields, more: undefined, block, isLast: isWhole};
    if (exchange === undefined) {
      stream.isUpOpen = !isWhole;
      passHead({link: application, way: up}, applicationId, {...head, extras});
      return;
    }
    application.heads.send(applicationId, head, extras);
    if (exchange.windowUpdates > 0)
      toApplication.windowUpdate(applicationId, exchange.windowUpdates);
    const {rest, copies} = exchange;
    exchange.leave();
    streams.settle(stream);
    stream.copies.push(...copies);
    if (isWhole || rest === undefined) return;
    streams.exchanged.add(stream);
    stream.backlog = new Backlog(this.#parts, stream, {application, rest});
    stream.backlog.start();
  }

  /** Passes a request on as it came, also one that the application, by a GOAWAY, will not look at. */
  #passVerbatim(stream: Stream, {block, isWhole}: Request, application: Link): void {
    const {streams, context} = this.#parts;
    context.counters.passedRequests++;
    stream.isSent = isWhole;
    stream.isUpOpen = !isWhole;
    streams.give(stream);
    if (this.#hold !== undefined) {
      application.heads.passFrames(this.#hold.frames);
      return;
    }
    const head = {fields: block.fields, more: undefined, block, isLast: isWhole};
    application.heads.pass(stream.id, head);
  }
}
