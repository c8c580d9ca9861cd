/**
 * Copies of the requests that fit filters, of a connection of which only what the client sends is seen.
 *
 * Theory of operation. Nothing is relayed, so nothing here can slow or break anybody: bytes come in, in order, and the requests
 * in them are read one after the other, as the relay reads them. Filters are asked and copies are made by the same means
 * (`route.ts`, `mirror.ts`, `h2/copies.ts`). What the application answers is not seen: where that decides what follows (an upgrade that it
 * takes, or not), what follows is read as requests for as long as it is some. Whatever is not clear ends the watch; a filter
 * fits no other protocol.
 */

import {waitingCopies} from '../../waiting-copies.ts';
import {detectProtocol} from '../detect.ts';
import {Http1Watch} from './http1-watch.ts';
import {Http2Watch} from './http2-watch.ts';
import {tellTooSlow, type Watch, type WatchContext} from './types.ts';

const NOTHING = Buffer.alloc(0);

export class RequestWatch {
  readonly #context: WatchContext;
  /** What came before it was clear what is spoken: a request line at most. */
  #first: Buffer = NOTHING;
  #watch: Watch | undefined;
  #isOver = false;

  constructor(context: WatchContext) {
    this.#context = context;
  }

  /** Whether anything of it is still looked at; if not, it is to be reset. */
  get isAlive(): boolean {
    if (this.#isOver || this.#watch?.isOver === true) return false;
    return this.#context.subscriptions().length > 0;
  }

  /** The next bytes of the client's, which are the watch's own. */
  write(chunk: Uint8Array): void {
    if (!this.isAlive) return;
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
    if (this.#watch === undefined) this.#detect(bytes);
    else this.#watch.push(bytes);
  }

  /** The client sends no more. */
  end(): void {
    this.#isOver = true;
    this.#keep(NOTHING);
    this.#watch?.end();
  }

  /** The connection is broken, or something of it is missing. */
  reset(): void {
    this.#isOver = true;
    this.#keep(NOTHING);
    this.#watch?.reset();
  }

  #detect(bytes: Buffer): void {
    const first = this.#first.length === 0 ? bytes : Buffer.concat([this.#first, bytes]);
    const protocol = detectProtocol(first);
    if (protocol === 'more') {
      this.#keep(first);
      if (!waitingCopies.isFull) return;
      tellTooSlow(this.#context);
      this.reset();
      return;
    }
    this.#keep(NOTHING);
    const {counters} = this.#context;
    if (protocol === 'raw') {
      counters.rawConnections++;
      this.#isOver = true;
      return;
    }
    if (protocol === 'http1') counters.http1Connections++;
    else counters.http2Connections++;
    this.#watch =
      protocol === 'http1' ? new Http1Watch(this.#context) : new Http2Watch(this.#context);
    this.#watch.push(first);
  }

  #keep(bytes: Buffer): void {
    waitingCopies.change(bytes.length - this.#first.length);
    this.#first = bytes;
  }
}
