/**
 * From the pieces of a WebSocket's messages to what the multiplexer takes: whole messages, or bulk as it comes.
 *
 * A message of bulk data is handed on piece by piece as it comes (`bulk.ts`), in the connection's memory. All others
 * are small, and put together by a copy.
 */

import {isBulk} from './bulk.ts';
import type {ProtocolCode} from './errors.ts';
import {MESSAGE_BYTES} from './limits.ts';

/** Where messages go. */
export interface MessageTaker {
  receive(message: Uint8Array): void;
  /** The next piece of a message of so many bytes that `isBulk`; its memory is the connection's. */
  receiveBulk(piece: Uint8Array, messageBytes: number): void;
  /** No message of ours: the tunnel is to be closed. */
  refuse(code: ProtocolCode): void;
}

export class MessageInbox {
  readonly #taker: MessageTaker;
  /** Whether a message has begun here: a connection may be handed over in the middle of one. */
  #isInside = false;
  /** How many bytes the message has; undefined: that is not known yet. */
  #bytes: number | undefined;
  #position = 0;
  #isBulk = false;
  /** What is put together. */
  #buffer: Uint8Array | undefined;

  constructor(taker: MessageTaker) {
    this.#taker = taker;
  }

  begin(isBinary: boolean, bytes: number | undefined): void {
    this.#isInside = true;
    this.#bytes = bytes;
    this.#position = 0;
    this.#isBulk = false;
    this.#buffer = undefined;
    if (!isBinary) this.#taker.refuse('MESSAGE_NOT_BINARY');
  }

  take(piece: Uint8Array): void {
    if (!this.#isInside) return;
    const isFirst = this.#position === 0;
    const bytes = this.#bytes;
    this.#position += piece.length;
    if (isFirst && bytes !== undefined && isBulk(piece, bytes)) {
      this.#isBulk = true;
      this.#taker.receiveBulk(plain(piece), bytes);
    } else if (isFirst && piece.length === bytes) {
      this.#taker.receive(new Uint8Array(piece));
    } else if (this.#isBulk && bytes !== undefined) {
      this.#taker.receiveBulk(plain(piece), bytes);
    } else {
      // Of unknown length: it may become as long as messages may be.
      this.#buffer ??= new Uint8Array(bytes ?? MESSAGE_BYTES);
      this.#buffer.set(piece, this.#position - piece.length);
    }
  }

  end(): void {
    if (!this.#isInside) return;
    this.#isInside = false;
    const message = this.#buffer?.subarray(0, this.#position);
    this.#buffer = undefined;
    if (message !== undefined) this.#taker.receive(message);
    else if (this.#position === 0) this.#taker.receive(new Uint8Array(0));
  }
}

/** A Buffer is not quite a Uint8Array: its `slice` is no copy. */
function plain(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
}
