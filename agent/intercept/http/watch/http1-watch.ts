/** The requests of a connection of HTTP/1, as the client sends them (`request-watch.ts`). */

import {waitingCopies} from '../../waiting-copies.ts';
import {BodyGatherer, type BodySource} from '../body-gatherer.ts';
import {Exchange} from '../exchange.ts';
import {parseRequestHead} from '../head.ts';
import {HeadBuffer} from '../head-buffer.ts';
import {MirrorCopies} from '../mirror.ts';
import type {Route} from '../route.ts';
import {Signal} from '../signal.ts';
import {RequestSubject} from '../subject.ts';
import type {HttpSubscription} from '../types.ts';
import {tellTooSlow, WAITING_BYTES, type Watch, type WatchContext} from './types.ts';

type Stage =
  /** The next request is read. */
  | 'head'
  /** Filters think about it. */
  | 'asking'
  | 'body'
  | 'over';

export class Http1Watch implements Watch, BodySource {
  readonly #context: WatchContext;
  /** Tells of time that is over; what comes is pushed. */
  readonly #signal = new Signal();
  readonly #copies = new Map<number, MirrorCopies>();
  readonly #buffer = new HeadBuffer();
  readonly #queue: Buffer[] = [];
  #queuedBytes = 0;
  #countedBytes = 0;
  #stage: Stage = 'head';
  #exchange: Exchange | undefined;
  #gatherer: BodyGatherer | undefined;
  #hasEnded = false;

  constructor(context: WatchContext) {
    this.#context = context;
    this.#signal.listener = () => this.#step();
  }

  get isOver(): boolean {
    return this.#stage === 'over';
  }

  push(bytes: Buffer): void {
    if (this.isOver) return;
    this.unread(bytes, true);
    this.#step();
    if (this.#queuedBytes > WAITING_BYTES || (this.#countedBytes > 0 && waitingCopies.isFull))
      this.#tooSlow();
  }

  end(): void {
    this.#hasEnded = true;
    this.#step();
  }

  reset(): void {
    this.#finish();
  }

  // ---- for who gathers a body ----

  get isAtEnd(): boolean {
    return this.#hasEnded && this.#queue.length === 0;
  }

  get isBroken(): boolean {
    return this.isOver;
  }

  read(): Buffer | undefined {
    const chunk = this.#queue.shift();
    this.#queuedBytes -= chunk?.length ?? 0;
    return chunk;
  }

  unread(bytes: Buffer, isLast = false): void {
    if (bytes.length === 0) return;
    if (isLast) this.#queue.push(bytes);
    else this.#queue.unshift(bytes);
    this.#queuedBytes += bytes.length;
  }

  // ---- stages ----

  /** Goes as far as it can. */
  #step(): void {
    for (;;) {
      if (this.#stage === 'asking' && this.#gatherer?.step()) this.#gatherer = undefined;
      if (this.#stage === 'head' && this.#readHead()) continue;
      if (this.#stage === 'body' && this.#readBody()) continue;
      break;
    }
    this.#count();
  }

  /** After whatever changes what waits. */
  #count(): void {
    const bytes = this.isOver ? 0 : this.#queuedBytes + this.#buffer.keptBytes;
    waitingCopies.change(bytes - this.#countedBytes);
    this.#countedBytes = bytes;
  }

  #finish(): void {
    if (this.isOver) return;
    this.#stage = 'over';
    this.#queue.length = this.#queuedBytes = 0;
    this.#gatherer?.step();
    this.#exchange?.endCopies();
    this.#count();
    for (const copies of this.#copies.values()) copies.close();
  }

  /** Where a message ends can't be known any more. */
  #ambiguous(): void {
    this.#context.counters.ambiguousConnections++;
    this.#finish();
  }

  /** More has come while a filter thinks than may wait. */
  #tooSlow(): void {
    tellTooSlow(this.#context);
    this.#finish();
  }

  #readHead(): boolean {
    for (let chunk = this.read(); chunk !== undefined; chunk = this.read()) {
      const length = this.#buffer.push(chunk);
      if (length === 'more') continue;
      const bytes = this.#buffer.take();
      const headBytes = length === 'broken' ? undefined : bytes.subarray(0, length);
      const head = headBytes && parseRequestHead(headBytes);
      if (headBytes === undefined || head === undefined) {
        this.#ambiguous();
        return false;
      }
      this.unread(bytes.subarray(headBytes.length));
      this.#route(new Exchange(head, headBytes));
      return true;
    }
    if (this.#hasEnded) this.#finish();
    return false;
  }

  #route(exchange: Exchange): void {
    const {subscriptions, router, options, counters} = this.#context;
    this.#exchange = exchange;
    const subject = new RequestSubject(exchange, this.#gather);
    const route = router.route(subscriptions(), subject, options.jqTimeLimitMs);
    if (!(route instanceof Promise)) {
      this.#onRoute(exchange, route);
      return;
    }
    this.#stage = 'asking';
    route
      .then((found) => {
        if (this.isOver) return;
        this.#onRoute(exchange, found);
        this.#step();
      })
      .catch(() => {
        counters.internalErrors++;
        this.#finish();
      });
  }

  readonly #gather = async (exchange: Exchange): Promise<Uint8Array | undefined> => {
    const {options, counters} = this.#context;
    const gatherer = new BodyGatherer(exchange, this, {...options, signal: this.#signal});
    if (!gatherer.step()) this.#gatherer = gatherer;
    const body = await gatherer.body;
    if (body === undefined) counters.unreadBodies++;
    return body;
  };

  #onRoute(exchange: Exchange, {mirrors}: Route): void {
    exchange.forgetPayload();
    if (exchange.reader.isBroken) {
      this.#ambiguous();
      return;
    }
    exchange.begin(
      mirrors.map((subscription) => {
        const copies = this.#copiesFor(subscription);
        return {copies, copy: copies.begin(exchange.head)};
      }),
    );
    if (exchange.isSent) this.#onWhole(exchange);
    else this.#stage = 'body';
  }

  #copiesFor(subscription: HttpSubscription): MirrorCopies {
    let copies = this.#copies.get(subscription.id);
    if (copies === undefined) {
      copies = new MirrorCopies(subscription, this.#context.counters);
      this.#copies.set(subscription.id, copies);
    }
    return copies;
  }

  #readBody(): boolean {
    const exchange = this.#exchange;
    if (exchange === undefined) return false;
    const {reader} = exchange;
    while (!reader.isDone) {
      const chunk = this.read();
      if (chunk === undefined) {
        if (this.#hasEnded) this.#finish();
        return false;
      }
      const count = reader.take(chunk);
      exchange.write(chunk.subarray(0, count));
      this.unread(chunk.subarray(count));
      if (reader.isBroken) {
        this.#ambiguous();
        return false;
      }
    }
    exchange.isSent = true;
    exchange.endCopies();
    this.#onWhole(exchange);
    return true;
  }

  /** What follows CONNECT is another connection's, if the application takes it. */
  #onWhole({head}: Exchange): void {
    this.#exchange = undefined;
    if (head.isLast || head.method === 'CONNECT') this.#finish();
    else this.#stage = 'head';
  }
}
