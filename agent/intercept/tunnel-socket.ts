/**
 * A stream of the tunnel as a socket: what a connection into a client's program is to the interceptor.
 *
 * Credit is passed through: what the reader has not taken stays the client's, but for what was under way, which waits here
 * within the stream's window. What the tunnel has no room for waits here, too, as for a kernel that is full; bounded by
 * whoever writes.
 */

import type {SocketHandler, StreamSocket} from '../../sockets/types.ts';
import {WriteQueue} from '../../sockets/write-queue.ts';
import {emitIncoming, type TunnelEndpoint} from '../../tunnel/messages.ts';
import type {ErrnoName, MuxStream, StreamHandler} from '../../tunnel/types.ts';
import type {Subscriber} from './subscriptions.ts';

/** Opens a stream towards a client; throws when its tunnel is over. */
export type OpenToClient = (handler: StreamHandler) => MuxStream;

/** Both ends of a connection to the pod. */
export interface Ends {
  readonly peer: TunnelEndpoint;
  readonly local: TunnelEndpoint;
}

/** Opens a connection that came for a subscription. */
export function opener({params, client}: Subscriber, {peer, local}: Ends): OpenToClient {
  const body = emitIncoming({subscription: params.id, peer, local});
  return (handler) => client.open(body, handler);
}

/** An errno of the tunnel as an error, as Node's own. */
function errnoError(code: ErrnoName): Error & {code: string} {
  return Object.assign(new Error(`the client's program: ${code}`), {code});
}

const parts: Uint8Array[] = [];

class TunnelSocket implements StreamSocket {
  handler: SocketHandler | undefined;
  readonly #queue = new WriteQueue();
  /** What came and was not read. */
  readonly #unread: Uint8Array[] = [];
  #stream: MuxStream | undefined;
  #readBytes = 0;
  #received = 0;
  #unreadBytes = 0;
  #isReading = false;
  #isFlushTold = true;
  /** The program says no more, or takes no more. */
  #hasEnd = false;
  #isStopped = false;
  #hasToldEnd = false;
  /** Both ends have said their last word. */
  #isOver = false;
  #isEnding = false;
  #hasEnded = false;
  #isClosed = false;

  /** Opens the stream; `settle` is told whether the client took it. */
  open(open: OpenToClient, settle: (errno: ErrnoName | undefined) => void): void {
    const fail = (errno: ErrnoName): void => {
      this.#stream = undefined;
      settle(errno);
      this.#close(errnoError(errno));
    };
    this.#stream = open({
      onOpened: () => settle(undefined),
      onRefused: fail,
      onReset: fail,
      onLentData: (chunk) => this.#onData(chunk),
      onEnd: () => {
        this.#hasEnd = true;
        this.#read();
      },
      onWritable: () => this.#flush(),
      onStop: () => {
        this.#isStopped = true;
        this.#flush();
      },
      onClose: () => {
        this.#stream = undefined;
        this.#isOver = true;
        this.#read();
      },
    });
  }

  get bufferedBytes(): number {
    return this.#queue.bytes;
  }

  get isWritable(): boolean {
    return !this.#isEnding && !this.#isClosed;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  get readBytes(): number {
    return this.#readBytes;
  }

  set readBytes(bytes: number) {
    this.#readBytes = bytes;
    // Not in the call of whoever sets it.
    if (bytes > 0 && !this.#isReading && this.#hasNews) queueMicrotask(() => this.#read());
  }

  write(bytes: Uint8Array, taken?: () => void): void {
    this.#push(bytes, false, taken);
  }

  writeLent(bytes: Uint8Array): void {
    this.#push(bytes, true);
  }

  flush(): void {}

  end(): void {
    if (!this.isWritable) return;
    this.#isEnding = true;
    this.#endIfEmpty();
  }

  destroy(): void {
    this.#close(undefined);
  }

  /** There is something to tell. */
  get #hasNews(): boolean {
    return this.#unreadBytes > 0 || this.#isOver || (this.#hasEnd && !this.#hasToldEnd);
  }

  #push(bytes: Uint8Array, isLent: boolean, taken?: () => void): void {
    if (!this.isWritable || bytes.length === 0) return;
    this.#queue.push(bytes, isLent, taken);
    this.#send();
    this.#queue.keep();
    if (this.#queue.bytes === 0 || !this.#isFlushTold) return;
    this.#isFlushTold = false;
    queueMicrotask(() => this.#tellFlushed());
  }

  #tellFlushed(): void {
    this.#isFlushTold = true;
    this.handler?.onFlushed?.();
  }

  /** Gives the tunnel what it takes. */
  #send(): void {
    while (this.#queue.bytes > 0) {
      this.#queue.fill(parts);
      const [part] = parts;
      parts.length = 0;
      if (part === undefined) break;
      const room = this.#isStopped ? part.length : (this.#stream?.writable ?? 0);
      const count = Math.min(room, part.length);
      if (count === 0) break;
      if (!this.#isStopped) this.#stream?.write(part.subarray(0, count));
      this.#queue.take(count);
    }
  }

  #flush(): void {
    if (this.#isClosed || this.#queue.bytes === 0) return;
    this.#send();
    this.#endIfEmpty();
    this.#tellFlushed();
  }

  #endIfEmpty(): void {
    if (!this.#isEnding || this.#hasEnded || this.#queue.bytes > 0) return;
    this.#hasEnded = true;
    this.#stream?.end();
  }

  #onData(chunk: Uint8Array): void {
    if (this.#isClosed) return;
    this.#received += chunk.length;
    if (this.#readBytes === 0 || this.#isReading || this.#unreadBytes > 0) {
      this.#unread.push(new Uint8Array(chunk));
      this.#unreadBytes += chunk.length;
      return;
    }
    this.#isReading = true;
    try {
      this.handler?.onData(chunk);
    } finally {
      this.#isReading = false;
    }
    this.#read();
  }

  /** Tells what waits, for as long as somebody reads. */
  #read(): void {
    if (this.#isReading || this.#isClosed) return;
    this.#isReading = true;
    try {
      while (this.#readBytes > 0 && !this.#isClosed) {
        const chunk = this.#unread.shift();
        if (chunk === undefined) break;
        this.#unreadBytes -= chunk.length;
        this.handler?.onData(chunk);
      }
    } finally {
      this.#isReading = false;
    }
    if (this.#isClosed) return;
    // What is not read stays unacknowledged, within the stream's window.
    this.#stream?.consumed(this.#received - this.#unreadBytes);
    if (this.#unreadBytes > 0) return;
    // Who has just been given it may not have begun to read.
    if (this.#hasEnd && !this.#hasToldEnd && this.#readBytes > 0) {
      this.#hasToldEnd = true;
      this.handler?.onEnd();
    }
    if (this.#isOver) this.#close(undefined);
  }

  #close(error: NodeJS.ErrnoException | undefined): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (!this.#hasEnd || !this.#hasEnded) this.#stream?.reset('ECONNRESET');
    this.#stream = undefined;
    this.#queue.clear();
    this.#unread.length = this.#unreadBytes = 0;
    const {handler} = this;
    this.handler = undefined;
    handler?.onClose(error);
  }
}

/**
 * Opens a connection into a client's program. Rejects with an error whose `code` is the errno of its refusal, or
 * ETIMEDOUT when it has not answered in time.
 */
export async function connectClient(open: OpenToClient, timeoutMs: number): Promise<StreamSocket> {
  const {promise, resolve, reject} = Promise.withResolvers<void>();
  const socket = new TunnelSocket();
  const timer = setTimeout(() => reject(errnoError('ETIMEDOUT')), timeoutMs);
  try {
    socket.open(open, (errno) => (errno === undefined ? resolve() : reject(errnoError(errno))));
    await promise;
    return socket;
  } catch (error) {
    socket.destroy();
    throw error;
  } finally {
    clearTimeout(timer);
  }
}
