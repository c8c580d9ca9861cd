/**
 * Copies of the streams of one connection of HTTP/2 for one client that mirrors them. The original never waits for
 * them: what waits for the program has a limit, and a copy that exceeds it is cut off, which the client is told once.
 */

import {type ClientHttp2Stream, constants} from 'node:http2';
import type {HttpCounters} from './counters.ts';
import type {RequestCopy} from './http2-exchange.ts';
import {type RawHeaders, sendTrailers, startRequest, type Upstream} from './http2-upstream.ts';
import type {HttpSubscription} from './types.ts';
import {warnOnce} from './warnings.ts';

/** What may wait for the program, of one stream. */
const WAITING_BYTES = 65_536;
/** Copies that the program has not answered: as many streams as a client may have. */
const MAX_COPIES = 250;

export class Http2Mirror {
  readonly #subscription: HttpSubscription;
  readonly #upstream: Upstream;
  readonly #counters: HttpCounters;
  #copies = 0;

  constructor(subscription: HttpSubscription, upstream: Upstream, counters: HttpCounters) {
    this.#subscription = subscription;
    this.#upstream = upstream;
    this.#counters = counters;
  }

  /** Begins a copy; undefined when there are too many. */
  begin(headers: RawHeaders, hasNoBody: boolean): RequestCopy | undefined {
    this.#counters.mirroredRequests++;
    if (this.#copies >= MAX_COPIES) {
      this.#tooSlow();
      return undefined;
    }
    this.#copies++;
    const copy = new Copy({
      onSlow: () => this.#tooSlow(),
      onClose: () => {
        this.#copies--;
      },
    });
    void this.#start(copy, headers, hasNoBody);
    return copy;
  }

  async #start(copy: Copy, headers: RawHeaders, hasNoBody: boolean): Promise<void> {
    const session = await this.#upstream.session();
    copy.start(session && startRequest(session, headers, hasNoBody));
  }

  #tooSlow(): void {
    this.#counters.cutMirrors++;
    const slow = 'the program takes copies of requests more slowly than they come: some are lost';
    warnOnce(this.#subscription, 'MIRRORD_HTTP_MIRROR_SLOW', slow);
  }
}

class Copy implements RequestCopy {
  readonly #events: {onSlow(): void; onClose(): void};
  #request: ClientHttp2Stream | undefined;
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #hasEnded = false;
  #trailers: RawHeaders | undefined;
  #isOver = false;

  constructor(events: {onSlow(): void; onClose(): void}) {
    this.#events = events;
  }

  /** Goes on with the stream of the program; undefined: there is none. */
  start(request: ClientHttp2Stream | undefined): void {
    if (request === undefined || this.#isOver) {
      request?.close(constants.NGHTTP2_CANCEL);
      this.#finish();
      return;
    }
    this.#request = request;
    request.on('wantTrailers', () => sendTrailers(request, this.#trailers));
    // The answer is of no interest, whatever it is.
    request.on('error', () => {});
    request.on('close', () => this.#finish());
    request.resume();
    for (const chunk of this.#waiting.splice(0)) request.write(chunk);
    if (this.#hasEnded) request.end();
  }

  write(chunk: Buffer): void {
    if (this.#isOver) return;
    if (this.#request === undefined) {
      this.#waiting.push(chunk);
      this.#waitingBytes += chunk.length;
    } else this.#request.write(chunk);
    const waiting = this.#request?.writableLength ?? this.#waitingBytes;
    if (waiting <= WAITING_BYTES) return;
    this.#events.onSlow();
    this.cancel();
  }

  end(trailers: RawHeaders | undefined): void {
    this.#hasEnded = true;
    this.#trailers = trailers;
    if (!this.#isOver) this.#request?.end();
  }

  cancel(): void {
    this.#request?.close(constants.NGHTTP2_CANCEL);
    this.#finish();
  }

  #finish(): void {
    this.#waiting = [];
    if (this.#isOver) return;
    this.#isOver = true;
    this.#events.onClose();
  }
}
