/** A stream of Node's as a socket: TLS, a pair in memory, or where the addon is missing. */

import {Socket} from 'node:net';
import type {Duplex} from 'node:stream';
import {type LendingRead, lenderOf} from './lending.ts';
import {resetSocket} from './reset.ts';
import type {SocketHandler, StreamSocket} from './types.ts';

/** Where reading is not bounded by who reads. */
export const ANY_BYTES = 262_144;

export class DuplexSocket implements StreamSocket {
  handler: SocketHandler | undefined;
  readonly #stream: Duplex;
  #readBytes = 0;
  /** Whether what comes comes here. */
  #isTaken = false;
  #isClosed = false;
  #error: NodeJS.ErrnoException | undefined;
  #isCorked = false;

  constructor(stream: Duplex) {
    this.#stream = stream;
    stream.on('error', (error) => {
      this.#error ??= error;
    });
    stream.on('end', () => this.handler?.onEnd());
    stream.on('close', () => this.#closed());
    if (stream.destroyed) queueMicrotask(() => this.#closed());
  }

  get bufferedBytes(): number {
    return this.#stream.writableLength;
  }

  get isWritable(): boolean {
    return this.#stream.writable;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  get readBytes(): number {
    return this.#readBytes;
  }

  set readBytes(bytes: number) {
    if (!this.#isTaken && bytes > 0) this.#take();
    this.#readBytes = bytes;
    if (bytes === 0) this.#stream.pause();
    else this.#stream.resume();
  }

  #take(): void {
    this.#isTaken = true;
    const onData = (chunk: Uint8Array): void => this.handler?.onData(chunk);
    const lender = lenderOf(this.#stream);
    if (lender === undefined) this.#stream.on('data', onData);
    else this.#lend(onData, lender);
  }

  #lend(onData: (bytes: Uint8Array) => void, lender: LendingRead): void {
    lender.taker = onData;
    // What came before is the stream's.
    const rest: Buffer | null = this.#stream.read();
    if (rest !== null) queueMicrotask(() => onData(rest));
  }

  write(bytes: Uint8Array, taken?: () => void): void {
    if (!this.#isCorked) {
      this.#isCorked = true;
      this.#stream.cork();
      process.nextTick(() => this.flush());
    }
    this.#stream.write(bytes, (error) => {
      if (error) return;
      taken?.();
      this.handler?.onFlushed?.();
    });
  }

  writeLent(bytes: Uint8Array): void {
    this.write(new Uint8Array(bytes));
  }

  flush(): void {
    if (!this.#isCorked) return;
    this.#isCorked = false;
    this.#stream.uncork();
  }

  end(): void {
    this.flush();
    this.#stream.end();
  }

  destroy(isReset = false): void {
    const stream = this.#stream;
    if (isReset && stream instanceof Socket) resetSocket(stream);
    // That alone would wait until all that is written has left.
    stream.destroy();
  }

  #closed(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const {handler} = this;
    this.handler = undefined;
    handler?.onClose(this.#error);
  }
}
