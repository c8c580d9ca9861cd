/**
 * One connection of a relay: the client's, the application's, or that of a program that steals.
 *
 * Bytes are pulled. What comes is lent (`sockets/`): whoever reads it while the relay's signal is told, and writes it to
 * another leg, has it passed on without a copy; what is then still unread is copied, and waits here. Above `QUEUE_BYTES`
 * the connection is not read, so that who sends too fast is slowed down by its own kernel. What waits to be written is
 * bounded by whoever writes only while `isWritable`. That is what each may have while all together, also those of
 * ../pass.ts, keep less than `held` allows, and a little for each above it.
 */

import type {StreamSocket} from '../../../sockets/types.ts';
import {held} from '../pass.ts';
import type {Signal} from './signal.ts';

/** What may wait here to be relayed. */
const QUEUE_BYTES = 65_536;
/** What may wait here to be written, before more is; what is read at once comes on top. */
const WRITE_BYTES = 131_072;
/** Read at once. */
const READ_BYTES = 131_072;
/** Instead of each of these, while all connections together have too much waiting. */
const LITTLE_BYTES = 16_384;
/** How long the other side may take to end a connection of which we have ended our half. */
const CLOSE_MS = 5000;

function atMost(bytes: number): number {
  return held.isFull ? LITTLE_BYTES : bytes;
}

export class Leg {
  readonly #socket: StreamSocket;
  readonly #signal: Signal;
  readonly #queue: Buffer[] = [];
  #queued = 0;
  /** What has just come, if nobody has read it yet. */
  #lent: Buffer | undefined;
  /** What was read is in memory that is used again as soon as the signal was told. */
  #isLending = false;
  #heldBytes = 0;
  #hasFin = false;
  #isBroken = false;
  #hasEnded = false;
  #isAwaited = false;
  #closing: NodeJS.Timeout | undefined;

  constructor(socket: StreamSocket, signal: Signal) {
    this.#socket = socket;
    this.#signal = signal;
    socket.handler = {
      onData: (bytes) => this.receive(bytes),
      onEnd: () => {
        this.#hasFin = true;
        signal.notify();
      },
      onFlushed: () => this.#onFlushed(),
      onClose: () => this.#onClose(),
    };
    if (socket.isClosed) this.#isBroken = true;
    else socket.readBytes = READ_BYTES;
  }

  /** There are bytes to read. */
  get hasBytes(): boolean {
    return this.#lent !== undefined || this.#queue.length > 0;
  }

  /** The other side has sent its last byte, and it was read. */
  get isAtEnd(): boolean {
    return this.#hasFin && !this.hasBytes;
  }

  /** Nothing can be sent or received any more: it was reset. */
  get isBroken(): boolean {
    return this.#isBroken;
  }

  /** It has ended, or was reset, or said something that nobody asked for. */
  get isStirring(): boolean {
    return this.#isBroken || this.#hasFin || this.hasBytes;
  }

  /** What was written is on its way far enough for more; if it is not, the signal tells when it is. */
  get isWritable(): boolean {
    if (this.#isBroken || this.#socket.bufferedBytes < atMost(WRITE_BYTES)) return true;
    this.#isAwaited = true;
    return false;
  }

  /** What has come, which is lent. */
  receive(bytes: Uint8Array): void {
    if (this.#closing !== undefined) return;
    this.#lent = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#isLending = true;
    try {
      this.#signal.notify();
    } finally {
      this.#isLending = false;
    }
    const left = this.#lent;
    this.#lent = undefined;
    if (left !== undefined) {
      this.#queue.push(Buffer.from(left));
      this.#queued += left.length;
    }
    this.#setReading();
  }

  /** Returns the next bytes. Whoever keeps them beyond this call of the signal's must copy them. */
  read(): Buffer | undefined {
    const chunk = this.#queue.shift();
    if (chunk === undefined) {
      const lent = this.#lent;
      this.#lent = undefined;
      return lent;
    }
    this.#queued -= chunk.length;
    this.#setReading();
    return chunk;
  }

  /** Puts bytes of the last `read` back, in front of all others. */
  unread(chunk: Buffer): void {
    if (chunk.length === 0) return;
    if (this.#isLending && this.#lent === undefined && this.#queue.length === 0) {
      this.#lent = chunk;
      return;
    }
    this.#queue.unshift(chunk);
    this.#queued += chunk.length;
    this.#setReading();
  }

  /** Sends bytes, which may be lent. To be called while it is writable, but takes them anyway. */
  write(chunk: Uint8Array): void {
    if (!this.#isBroken && !this.#hasEnded) this.#socket.writeLent(chunk);
  }

  /** Ends our half, after what was written. */
  end(): void {
    if (this.#isBroken || this.#hasEnded) return;
    this.#hasEnded = true;
    this.#socket.end();
  }

  /** Breaks it off, so that the other side sees a reset. */
  reset(): void {
    this.#isBroken = true;
    this.#socket.destroy(true);
  }

  /** Ends it in good order, whatever the other side still says. */
  close(): void {
    if (this.#socket.isClosed || this.#closing !== undefined) return;
    this.end();
    this.#queue.length = this.#queued = 0;
    this.#lent = undefined;
    this.#closing = setTimeout(() => this.reset(), CLOSE_MS);
    this.#socket.readBytes = READ_BYTES;
  }

  /** After whatever changes what waits to be relayed. */
  #setReading(): void {
    this.#count();
    if (this.#isBroken || this.#closing !== undefined) return;
    this.#socket.readBytes = this.#queued >= atMost(QUEUE_BYTES) ? 0 : atMost(READ_BYTES);
  }

  #onFlushed(): void {
    this.#count();
    if (!this.#isAwaited || !this.isWritable) return;
    this.#isAwaited = false;
    this.#signal.notify();
  }

  #onClose(): void {
    clearTimeout(this.#closing);
    this.#count();
    // A connection of which both halves have ended is closed as well.
    if (!this.#hasFin || !this.#hasEnded) this.#isBroken = true;
    this.#signal.notify();
  }

  #count(): void {
    const bytes = this.#socket.isClosed ? 0 : this.#queued + this.#socket.bufferedBytes;
    if (bytes === this.#heldBytes) return;
    held.change(bytes - this.#heldBytes);
    this.#heldBytes = bytes;
  }
}
