/**
 * The requests of a connection of HTTP/2, as the client sends them (`request-watch.ts`).
 *
 * What the application has set is not seen: frames may be as large as any, and the table of headers larger than nothing said would
 * allow. Nor is it seen when it resets a stream: of more than MAX_STREAMS that have not ended, the oldest is given up.
 */

import {waitingCopies} from '../../waiting-copies.ts';
import {type Block, Blocks, Http2Error} from '../h2/blocks.ts';
import {Copies, type RequestCopy} from '../h2/copies.ts';
import {type FrameEvents, FrameReader} from '../h2/frames.ts';
import {requestHeadOf} from '../h2/head.ts';
import type {Field} from '../h2/hpack/field.ts';
import {Programs} from '../h2/programs.ts';
import {
  CONTINUATION,
  DATA,
  END_STREAM,
  HEADERS,
  LARGEST_FRAME_BYTES,
  PREFACE,
  RST_STREAM,
} from '../h2/protocol.ts';
import type {Route} from '../route.ts';
import type {HttpSubscription} from '../types.ts';
import {tellTooSlow, WAITING_BYTES, type Watch, type WatchContext} from './types.ts';

/** Streams that are looked at. */
const MAX_STREAMS = 1_024;
/** The largest table of headers that servers allow: gRPC's C core has 16 KiB, browsers' servers up to this. */
const TABLE_BYTES = 65_536;

class WatchedStream {
  readonly copies: RequestCopy[] = [];
  /** What came while filters think; undefined: they have done. */
  early: Buffer[] | undefined;
  earlyBytes = 0;
  hasEnded: boolean;
  trailers: readonly Field[] | undefined;
  isOver = false;
  onProgress: (() => void) | undefined;

  constructor(isWhole: boolean) {
    this.hasEnded = isWhole;
  }
}

export class Http2Watch implements Watch, FrameEvents {
  readonly #context: WatchContext;
  readonly #reader: FrameReader;
  readonly #blocks = new Blocks(TABLE_BYTES);
  readonly #programs: Programs;
  readonly #copies = new Map<number, Copies>();
  /** Those that have not ended, or that filters think about; oldest first. */
  readonly #streams = new Map<number, WatchedStream>();
  /** What is not above it is not new (RFC 9113, section 5.1.1). */
  #lastId = 0;
  #prefaceLeft = PREFACE.length;
  #earlyBytes = 0;
  #countedBytes = 0;
  #hasEnded = false;
  #isOver = false;

  constructor(context: WatchContext) {
    this.#context = context;
    this.#reader = new FrameReader(this);
    this.#reader.maxFrameBytes = LARGEST_FRAME_BYTES;
    this.#programs = new Programs({
      onTurn: () => this.#programs.turn(),
      onMistake: () => this.#mistake(),
    });
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  push(bytes: Buffer): void {
    if (this.#isOver) return;
    const skipped = Math.min(this.#prefaceLeft, bytes.length);
    this.#prefaceLeft -= skipped;
    try {
      this.#reader.push(bytes.subarray(skipped));
    } catch (error) {
      if (error instanceof Http2Error) this.onBroken();
      else this.#mistake();
    }
    this.#count();
    if (this.#countedBytes > 0 && waitingCopies.isFull) this.#tooSlow();
    this.#programs.turn();
  }

  end(): void {
    this.#hasEnded = true;
    for (const [id, stream] of this.#streams) if (!stream.hasEnded) this.#giveUp(id, stream);
    this.#finishIfIdle();
  }

  reset(): void {
    this.#finish();
  }

  /** After whatever changes what waits. */
  #count(): void {
    const kept = this.#reader.keptBytes + this.#blocks.keptBytes;
    const bytes = this.#isOver ? 0 : this.#earlyBytes + kept;
    waitingCopies.change(bytes - this.#countedBytes);
    this.#countedBytes = bytes;
  }

  // ---- frames ----

  onFrame(frame: FrameReader): void {
    const {type, streamId, flags} = frame;
    if (type === HEADERS || type === CONTINUATION || this.#blocks.isOpen) {
      const block = this.#blocks.take(frame);
      if (block !== undefined) this.#onHead(block);
      return;
    }
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return;
    if (type === RST_STREAM) this.#giveUp(streamId, stream);
    if (type !== DATA || stream.hasEnded) return;
    const isWanted = stream.early !== undefined || stream.copies.length > 0;
    if (isWanted && frame.end > frame.start)
      this.#onBody(stream, Buffer.from(frame.bytes.subarray(frame.start, frame.end)));
    if ((flags & END_STREAM) !== 0) this.#onEnd(streamId, stream, undefined);
    stream.onProgress?.();
  }

  onBroken(): void {
    this.#context.counters.ambiguousConnections++;
    this.#finish();
  }

  #onHead(block: Block): void {
    const {streamId, flags} = this.#blocks;
    const isLast = (flags & END_STREAM) !== 0;
    const known = this.#streams.get(streamId);
    if (known === undefined) {
      this.#begin(streamId, block, isLast);
      return;
    }
    if (known.hasEnded || !isLast) return;
    this.#onEnd(streamId, known, block.fields);
    known.onProgress?.();
  }

  #onBody(stream: WatchedStream, bytes: Buffer): void {
    for (const copy of stream.copies) copy.write(bytes);
    if (stream.early === undefined) return;
    stream.early.push(bytes);
    stream.earlyBytes += bytes.length;
    this.#earlyBytes += bytes.length;
    if (this.#earlyBytes > WAITING_BYTES) this.#tooSlow();
  }

  #onEnd(id: number, stream: WatchedStream, trailers: readonly Field[] | undefined): void {
    stream.hasEnded = true;
    stream.trailers = trailers;
    for (const copy of stream.copies) copy.end(trailers);
    if (stream.early === undefined) this.#forget(id, stream);
  }

  // ---- for whom a request is ----

  #begin(id: number, block: Block, isWhole: boolean): void {
    const {subscriptions, router, options} = this.#context;
    const head = requestHeadOf(block);
    const all = subscriptions();
    if (id <= this.#lastId || id % 2 === 0) return;
    this.#lastId = id;
    if (!head.isClear) return;
    const stream = new WatchedStream(isWhole);
    if (head.verdict?.subscriptions === all) {
      this.#onRoute(id, stream, {block, route: head.verdict.route});
      return;
    }
    let gathered: Promise<Buffer | undefined> | undefined;
    const body = (): Promise<Buffer | undefined> => {
      gathered ??= this.#gather(stream);
      return gathered;
    };
    stream.early = [];
    const {method, target, headers} = head;
    const route = router.route(all, {method, target, headers, body}, options.jqTimeLimitMs);
    if (!(route instanceof Promise)) {
      head.verdict = {subscriptions: all, route};
      this.#onRoute(id, stream, {block, route});
      return;
    }
    this.#keep(id, stream);
    route
      .then((found) => {
        if (stream.isOver) return;
        this.#onRoute(id, stream, {block, route: found});
        this.#count();
        this.#programs.turn();
        this.#finishIfIdle();
      })
      .catch(() => this.#mistake());
  }

  /** Reads the body while it is small and comes soon. */
  #gather(stream: WatchedStream): Promise<Buffer | undefined> {
    const {options, counters} = this.#context;
    return new Promise((resolve) => {
      const isSmall = (): boolean => stream.earlyBytes <= options.maxBodyBytes;
      const finish = (): void => {
        clearTimeout(timer);
        stream.onProgress = undefined;
        const isWhole = stream.hasEnded && isSmall() && !stream.isOver;
        if (!isWhole) counters.unreadBodies++;
        resolve(isWhole ? Buffer.concat(stream.early ?? []) : undefined);
      };
      const timer = setTimeout(finish, options.bodyTimeoutMs);
      stream.onProgress = () => {
        if (stream.hasEnded || stream.isOver || !isSmall()) finish();
      };
      stream.onProgress();
    });
  }

  #onRoute(
    id: number,
    stream: WatchedStream,
    {block, route}: {readonly block: Block; readonly route: Route},
  ): void {
    const {early = [], hasEnded, trailers} = stream;
    this.#earlyBytes -= stream.earlyBytes;
    stream.early = undefined;
    stream.earlyBytes = 0;
    const isWhole = hasEnded && early.length === 0 && trailers === undefined;
    for (const mirror of route.mirrors) {
      const target = this.#programs.connect(mirror);
      const copy = this.#copiesFor(mirror).begin(target, block.fields, isWhole);
      if (copy === undefined) continue;
      stream.copies.push(copy);
      for (const bytes of early) copy.write(bytes);
      if (hasEnded) copy.end(trailers);
    }
    if (hasEnded || stream.copies.length === 0) this.#forget(id, stream);
    else this.#keep(id, stream);
  }

  #copiesFor(subscription: HttpSubscription): Copies {
    let copies = this.#copies.get(subscription.id);
    if (copies === undefined) {
      copies = new Copies(subscription, this.#context.counters);
      this.#copies.set(subscription.id, copies);
    }
    return copies;
  }

  // ---- streams ----

  #keep(id: number, stream: WatchedStream): void {
    this.#streams.set(id, stream);
    if (this.#streams.size <= MAX_STREAMS) return;
    const [oldest] = this.#streams;
    if (oldest === undefined) return;
    this.#context.counters.cutMirrors++;
    this.#giveUp(...oldest);
  }

  #forget(id: number, stream: WatchedStream): void {
    stream.isOver = true;
    if (this.#streams.get(id) === stream) this.#streams.delete(id);
  }

  /** The request will not be completed. */
  #giveUp(id: number, stream: WatchedStream): void {
    this.#forget(id, stream);
    this.#earlyBytes -= stream.earlyBytes;
    stream.early = undefined;
    stream.earlyBytes = 0;
    for (const copy of stream.copies) copy.cancel();
    stream.onProgress?.();
  }

  // ---- the connection ----

  #tooSlow(): void {
    tellTooSlow(this.#context);
    this.#finish();
  }

  #mistake(): void {
    this.#context.counters.internalErrors++;
    this.#finish();
  }

  #finishIfIdle(): void {
    if (this.#hasEnded && this.#streams.size === 0) this.#finish();
  }

  #finish(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#reader.stop();
    for (const [id, stream] of this.#streams) this.#giveUp(id, stream);
    this.#count();
    this.#programs.close();
  }
}
