/**
 * A request about which a filter thinks, on a connection that passes as it is: nothing behind its head goes on meanwhile, so
 * that it can be passed on in its place, as it came.
 *
 * Others wait for that, so it has a limit, in time and in bytes. Whoever held it then has to do without (`routing.ts`). A
 * body that a filter wants to see is read ahead, out of what waits.
 */

import {Http2Error} from './blocks.ts';
import {FrameReader} from './frames.ts';
import type {Link} from './link.ts';
import {DATA, END_STREAM, HEADERS, LARGEST_FRAME_BYTES, RST_STREAM} from './protocol.ts';

/** What may wait of a connection: a body that filters look at, and what comes in between. */
const HELD_BYTES = 131_072;

export class Hold {
  /** Of the head. */
  readonly frames: readonly Buffer[];
  readonly #client: Link;
  readonly #streamId: number;
  readonly #over = Promise.withResolvers<void>();
  readonly #timer: NodeJS.Timeout;
  readonly #reader: FrameReader;
  readonly #body: Buffer[] = [];
  #bodyBytes = 0;
  #heldBytes = 0;
  #hasEnded: boolean;
  /** Nothing more of it will be read. */
  #isCutOff = false;
  #onProgress: (() => void) | undefined;

  /** Holds the head that `client` has read last for so long; `isWhole`: it is all of the request. */
  constructor(client: Link, isWhole: boolean, ms: number) {
    this.#client = client;
    this.#streamId = client.blocks.streamId;
    this.#hasEnded = isWhole;
    this.#timer = setTimeout(() => this.#over.resolve(), ms);
    this.#reader = new FrameReader({
      onFrame: (frame) => this.#onFrame(frame),
      onBroken: (code) => {
        throw new Http2Error(code);
      },
    });
    this.#reader.maxFrameBytes = LARGEST_FRAME_BYTES;
    this.frames = client.hold((bytes) => this.#onMore(bytes));
  }

  /** Resolves when it must not go on, if it still does. */
  get over(): Promise<void> {
    return this.#over.promise;
  }

  /** Nobody waits for it any more. */
  end(): void {
    clearTimeout(this.#timer);
    this.#onProgress = undefined;
  }

  /** Reads on. */
  release(): void {
    this.end();
    this.#client.release();
  }

  /** Resolves to the body; undefined when it is larger than `limit`, or will not be complete. */
  body(limit: number): Promise<Buffer | undefined> {
    return new Promise((resolve) => {
      this.#onProgress = () => {
        const isLarge = this.#bodyBytes > limit;
        if (!isLarge && !this.#hasEnded && !this.#isCutOff) return;
        this.#onProgress = undefined;
        resolve(isLarge || !this.#hasEnded ? undefined : Buffer.concat(this.#body));
      };
      this.#onProgress();
    });
  }

  #onMore(bytes: Buffer | undefined): void {
    this.#heldBytes += bytes?.length ?? 0;
    try {
      if (bytes === undefined) this.#isCutOff = true;
      else this.#reader.push(bytes);
    } catch (error) {
      if (!(error instanceof Http2Error)) throw error;
      this.#isCutOff = true;
    }
    this.#onProgress?.();
    if (this.#heldBytes > HELD_BYTES) this.#over.resolve();
  }

  #onFrame({type, flags, streamId, bytes, start, end}: FrameReader): void {
    if (streamId !== this.#streamId || this.#hasEnded) return;
    if (type === DATA) {
      this.#body.push(bytes.subarray(start, end));
      this.#bodyBytes += end - start;
    }
    if (type === DATA || type === HEADERS) this.#hasEnded = (flags & END_STREAM) !== 0;
    else if (type === RST_STREAM) this.#isCutOff = true;
  }
}
