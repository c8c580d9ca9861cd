/**
 * An open WebSocket over a connection of bytes.
 *
 * Messages go out in one frame each, from the caller's memory. What comes is handed on as it comes (`frames.ts`).
 * Pings are answered, a close too; the end is told once, with its code.
 *
 * Masks. A client must mask its frames with an unpredictable key (RFC 6455, section 10.3), since a
 * script in a browser could otherwise choose the bytes that an intermediary reads, and poison its
 * cache. No intermediary reads what is encrypted or stays on this machine, and no script chooses who is talked to:
 * there, `isPrivate`, the key is zeros, and the caller's memory is sent as it is, which is worth a factor of three
 * to four.
 */

import {randomFillSync} from 'node:crypto';
import type {Duplex} from 'node:stream';
import {ANY_BYTES} from '../../sockets/duplex-socket.ts';
import {socketOf} from '../../sockets/of-stream.ts';
import type {StreamSocket} from '../../sockets/types.ts';
import {
  applyMask,
  CLOSE_CODE,
  closeCodeOf,
  emitHead,
  FrameError,
  FrameReader,
  MASK_BYTES,
  MAX_HEAD_BYTES,
  OPCODE,
} from './frames.ts';
import type {Upgraded} from './handshake.ts';

/** How long a peer may take to answer our close. */
export const CLOSE_TIMEOUT_MS = 2000;
/** A smaller message is copied behind its head: less work than two pieces. */
const SMALL_BYTES = 1024;
/** The connection ended without a close frame (RFC 6455, section 7.1.5). */
export const ABNORMAL_CLOSE = 1006;

/** What happens on a WebSocket. */
export interface WebSocketHandler {
  /** A message begins; `bytes` is its length, if it is known. */
  onMessage(isBinary: boolean, bytes: number | undefined): void;
  /** Its next bytes, which are the handler's from now on unless they may be lent. */
  onPayload(piece: Uint8Array): void;
  onMessageEnd(): void;
  onPong?(): void;
  /** The peer breaks RFC 6455, and is told so by this code; `onClose` follows. */
  onBreach?(code: number): void;
  /** It is over: nothing is called any more. `error`: what the connection or the protocol failed of. */
  onClose(code: number, error: Error | undefined): void;
}

export interface WebSocketOptions {
  readonly role: 'client' | 'server';
  readonly maxMessageBytes: number;
  /** A client's: whether nobody can read the connection on its way. */
  readonly isPrivate?: boolean;
  /** Whether `onPayload` may be given memory that is used again as soon as it returns. */
  readonly mayLend?: boolean;
}

/** Whatever can be told when a message has left. */
export type Sent = () => void;

export class WebSocketConnection {
  readonly protocol: string;
  readonly #stream: Duplex;
  readonly #socket: StreamSocket;
  #handler: WebSocketHandler | undefined;
  readonly #reader: FrameReader;
  readonly #isPrivate: boolean;
  /** What was read before there was a handler. */
  #head: Uint8Array;
  /** What a client masks with. */
  readonly #mask: Uint8Array | undefined;
  #closeSent = false;
  #closeCode: number | undefined;
  #error: Error | undefined;
  #isClosed = false;
  #isPongWaiting = false;
  #nextPong: Uint8Array | undefined;

  /** Reads nothing before there is a handler. */
  constructor(upgraded: Upgraded, options: WebSocketOptions) {
    const {socket, head, protocol} = upgraded;
    const {role, maxMessageBytes, isPrivate = false} = options;
    this.protocol = protocol;
    this.#stream = socket;
    const taken = socketOf(socket, head, options.mayLend === true);
    this.#socket = taken.socket;
    this.#head = taken.head;
    this.#isPrivate = isPrivate;
    this.#mask = role === 'client' ? new Uint8Array(MASK_BYTES) : undefined;
    this.#reader = new FrameReader(role === 'client' ? 'server' : 'client', maxMessageBytes, {
      onMessage: (isBinary, bytes) => this.#handler?.onMessage(isBinary, bytes),
      onPayload: (piece) => this.#handler?.onPayload(piece),
      onMessageEnd: () => this.#handler?.onMessageEnd(),
      onControl: (opcode, payload) => this.#control(opcode, payload),
    });
    // Told by `onClose`, too.
    socket.on('error', () => undefined);
    this.#socket.handler = {
      onData: (bytes) => this.#read(bytes),
      // Half a WebSocket is none.
      onEnd: () => this.#socket.end(),
      onClose: (error) => this.#closed(error),
    };
  }

  /** Sets who hears of it from now on, also while something is being read. The first one starts the reading. */
  set handler(handler: WebSocketHandler) {
    const isFirst = this.#handler === undefined;
    this.#handler = handler;
    if (!isFirst) return;
    if (this.#socket.isClosed) queueMicrotask(() => this.#closed(undefined));
    const head = this.#head;
    this.#head = new Uint8Array(0);
    if (head.length > 0) queueMicrotask(() => this.#read(head));
    this.resume();
  }

  /** Whether messages can be sent. */
  get isOpen(): boolean {
    return !this.#closeSent && this.#socket.isWritable;
  }

  /** Bytes that wait in this process. */
  get bufferedBytes(): number {
    return this.#socket.bufferedBytes;
  }

  get isPaused(): boolean {
    return this.#socket.readBytes === 0;
  }

  /** Sends a binary message. Its memory is free again when `sent` is called. */
  send(message: Uint8Array, sent?: Sent): void {
    this.#write(OPCODE.binary, message, sent);
  }

  /**
   * Sends `buffer[start, end)`, which may be changed: in front of it are MAX_HEAD_BYTES or more that nobody needs,
   * and so head and message go out in one piece. The memory is free again when `sent` is called.
   */
  sendBehindRoom(buffer: Buffer, start: number, end: number, sent?: Sent): void {
    const mask = this.#nextMask();
    const length = end - start;
    if (mask !== undefined && !this.#isPrivate) applyMask(buffer.subarray(start, end), mask, 0);
    const from = emitHead(buffer, start, {opcode: OPCODE.binary, length, mask});
    this.#socket.write(buffer.subarray(from, end), sent);
  }

  ping(): void {
    if (this.isOpen) this.#write(OPCODE.ping, new Uint8Array(0));
  }

  /** Reads nothing for a while. */
  pause(): void {
    this.#socket.readBytes = 0;
  }

  resume(): void {
    this.#socket.readBytes = ANY_BYTES;
  }

  /** Closes in good order: what was sent before still arrives. */
  close(code: number = CLOSE_CODE.normal): void {
    if (this.#closeSent || this.#isClosed) return;
    this.#closeSent = true;
    this.#write(OPCODE.close, new Uint8Array([code >>> 8, code]));
    // The peer's close is to come, or the end of the connection.
    this.resume();
    this.#terminateLater();
  }

  /** Ends it at once. */
  terminate(): void {
    this.#reader.stop();
    this.#socket.destroy();
  }

  #write(opcode: number, payload: Uint8Array, sent?: Sent): void {
    const {length} = payload;
    const mask = this.#nextMask();
    const isKept = length > SMALL_BYTES && (mask === undefined || this.#isPrivate);
    const head = Buffer.allocUnsafe(MAX_HEAD_BYTES + (isKept ? 0 : length));
    const start = emitHead(head, MAX_HEAD_BYTES, {opcode, length, mask});
    if (!isKept) {
      head.set(payload, MAX_HEAD_BYTES);
      if (mask !== undefined && !this.#isPrivate) applyMask(head.subarray(MAX_HEAD_BYTES), mask, 0);
      this.#socket.write(head.subarray(start), sent);
      return;
    }
    this.#socket.write(head.subarray(start));
    this.#socket.write(payload, sent);
  }

  #terminateLater(): void {
    const timer = setTimeout(() => this.terminate(), CLOSE_TIMEOUT_MS);
    timer.unref();
    this.#stream.once('close', () => clearTimeout(timer));
  }

  #nextMask(): Uint8Array | undefined {
    return this.#mask === undefined || this.#isPrivate ? this.#mask : randomFillSync(this.#mask);
  }

  #read(bytes: Uint8Array): void {
    try {
      this.#reader.push(bytes);
    } catch (error) {
      if (!(error instanceof FrameError)) {
        this.terminate();
        throw error; // a bug in the handler
      }
      this.#error = error;
      this.#reader.stop();
      if (this.isOpen) this.close(error.code);
      else this.terminate();
      this.#handler?.onBreach?.(error.code);
    }
  }

  #control(opcode: number, payload: Uint8Array): void {
    if (opcode === OPCODE.ping) {
      this.#pong(payload);
    } else if (opcode === OPCODE.pong) {
      this.#handler?.onPong?.();
    } else {
      this.#closeCode = closeCodeOf(payload);
      this.#reader.stop();
      if (!this.#closeSent && this.#socket.isWritable) {
        this.#closeSent = true;
        this.#write(OPCODE.close, payload.subarray(0, 2));
      }
      this.#socket.end();
      // The server closes the connection first (section 7.1.1), but it may be gone.
      this.#terminateLater();
    }
  }

  /** Answers a ping; while an answer waits, only the last one counts (section 5.5.3). */
  #pong(payload: Uint8Array): void {
    if (!this.isOpen) return;
    if (this.#isPongWaiting) {
      this.#nextPong = payload;
      return;
    }
    this.#isPongWaiting = true;
    this.#write(OPCODE.pong, payload, () => {
      this.#isPongWaiting = false;
      const next = this.#nextPong;
      this.#nextPong = undefined;
      if (next !== undefined) this.#pong(next);
    });
  }

  #closed(error: Error | undefined): void {
    this.#error ??= error;
    this.#stream.destroy();
    if (this.#isClosed || this.#handler === undefined) return;
    this.#isClosed = true;
    this.#reader.stop();
    this.#handler.onClose(this.#closeCode ?? ABNORMAL_CLOSE, this.#error);
  }
}
