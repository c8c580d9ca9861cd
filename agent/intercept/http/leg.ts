/**
 * One connection of a relay: the client's, the application's, or that of a program that steals.
 *
 * Bytes are pulled: what came waits here, and above `QUEUE_BYTES` the connection is not read, so that who sends too
 * fast is slowed down by its own kernel. Everything that happens is told by the relay's signal.
 */

import {Socket} from 'node:net';
import type {Duplex} from 'node:stream';
import type {Signal} from './signal.ts';

/** What may wait here to be relayed: libuv reads as much at once. */
const QUEUE_BYTES = 65_536;
/** How long the other side may take to end a connection of which we have ended our half. */
const CLOSE_MS = 5000;

export class Leg {
  readonly #stream: Duplex;
  readonly #signal: Signal;
  readonly #queue: Buffer[] = [];
  #queued = 0;
  #hasFin = false;
  #isBroken = false;
  #hasEnded = false;

  constructor(stream: Duplex, signal: Signal) {
    this.#stream = stream;
    this.#signal = signal;
    if (stream instanceof Socket) stream.setNoDelay(true);
    stream.on('data', this.#onData);
    stream.on('end', this.#onEnd);
    stream.on('error', this.#onBroken);
    stream.on('close', this.#onClose);
    stream.on('drain', this.#onDrain);
    if (stream.destroyed) this.#isBroken = true;
    else stream.resume();
  }

  /** There are bytes to read. */
  get hasBytes(): boolean {
    return this.#queue.length > 0;
  }

  /** The other side has sent its last byte, and it was read. */
  get isAtEnd(): boolean {
    return this.#hasFin && this.#queue.length === 0;
  }

  /** Nothing can be sent or received any more: it was reset. */
  get isBroken(): boolean {
    return this.#isBroken;
  }

  /** It has ended, or was reset, or said something that nobody asked for. */
  get isStirring(): boolean {
    return this.#isBroken || this.#hasFin || this.hasBytes;
  }

  /** What was written is on its way far enough for more. */
  get isWritable(): boolean {
    return this.#isBroken || !this.#stream.writableNeedDrain;
  }

  /** Returns the next bytes; they are the caller's. */
  read(): Buffer | undefined {
    const chunk = this.#queue.shift();
    if (chunk !== undefined) this.#queued -= chunk.length;
    if (this.#queued < QUEUE_BYTES && this.#stream.isPaused()) this.#stream.resume();
    return chunk;
  }

  /** Puts bytes back, in front of all others. */
  unread(chunk: Buffer): void {
    if (chunk.length === 0) return;
    this.#queue.unshift(chunk);
    this.#queued += chunk.length;
  }

  /** Sends bytes, which must not change afterwards. To be called while it is writable, but takes them anyway. */
  write(chunk: Buffer): void {
    if (!this.#isBroken && !this.#hasEnded) this.#stream.write(chunk);
  }

  /** Ends our half, after what was written. */
  end(): void {
    if (this.#isBroken || this.#hasEnded) return;
    this.#hasEnded = true;
    this.#stream.end();
  }

  /** Breaks it off, so that the other side sees a reset. */
  reset(): void {
    this.#isBroken = true;
    if (this.#stream.destroyed) return;
    if (this.#stream instanceof Socket) this.#stream.resetAndDestroy();
    else this.#stream.destroy();
  }

  /** Ends it in good order, whatever the other side still says. */
  close(): void {
    if (this.#stream.destroyed) return;
    this.end();
    this.#queue.length = this.#queued = 0;
    this.#stream.off('data', this.#onData);
    this.#stream.resume();
    const timer = setTimeout(() => this.reset(), CLOSE_MS);
    this.#stream.once('close', () => clearTimeout(timer));
  }

  /** Gives the connection away, with the bytes that were not read in front, paused. */
  release(): Duplex {
    const stream = this.#stream;
    stream.pause();
    stream.off('data', this.#onData);
    stream.off('end', this.#onEnd);
    stream.off('error', this.#onBroken);
    stream.off('close', this.#onClose);
    stream.off('drain', this.#onDrain);
    if (this.#queue.length > 0) stream.unshift(Buffer.concat(this.#queue));
    this.#queue.length = this.#queued = 0;
    return stream;
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#queue.push(chunk);
    this.#queued += chunk.length;
    if (this.#queued >= QUEUE_BYTES) this.#stream.pause();
    this.#signal.notify();
  };

  readonly #onEnd = (): void => {
    this.#hasFin = true;
    this.#signal.notify();
  };

  readonly #onBroken = (): void => {
    this.#isBroken = true;
    this.#signal.notify();
  };

  readonly #onClose = (): void => {
    // A connection of which both halves have ended is closed as well.
    if (!this.#hasFin || !this.#hasEnded) this.#isBroken = true;
    this.#signal.notify();
  };

  readonly #onDrain = (): void => this.#signal.notify();
}
