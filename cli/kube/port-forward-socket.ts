/**
 * A port-forward as a socket (`sockets/types.ts`), once it has become a tunnel: what comes goes to who reads it without
 * Node's streams in between, and what a turn of the loop has written goes out in large messages.
 */

import type {SocketHandler, StreamSocket} from '../../sockets/types.ts';

/** What the port-forward does for it. */
export interface ForwardEnd {
  /** Bytes that wait in the WebSocket. */
  readonly bufferedBytes: number;
  pause(): void;
  resume(): void;
  /** Sends pieces, which it copies, as one message; `done` when it has left. */
  send(pieces: readonly Uint8Array[], bytes: number, done: () => void): void;
  end(): void;
  destroy(): void;
}

/** Pieces are sent as one message up to this size, bytes. */
const messageBytes = 256 * 1024;

export class PortForwardSocket implements StreamSocket {
  handler: SocketHandler | undefined;
  readonly #end: ForwardEnd;
  #readBytes = 0;
  #pieces: Uint8Array[] = [];
  #taken: (() => void)[] = [];
  #bytes = 0;
  #isFlushQueued = false;
  #isEnding = false;
  #isClosed = false;

  constructor(end: ForwardEnd) {
    this.#end = end;
    end.pause();
  }

  get bufferedBytes(): number {
    return this.#bytes + this.#end.bufferedBytes;
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

  /** Only whether it is 0 counts: records of TLS come as they are. */
  set readBytes(bytes: number) {
    const wasReading = this.#readBytes > 0;
    this.#readBytes = bytes;
    if (wasReading === bytes > 0) return;
    if (bytes > 0) this.#end.resume();
    else this.#end.pause();
  }

  write(bytes: Uint8Array, taken?: () => void): void {
    if (!this.isWritable) return;
    this.#pieces.push(bytes);
    this.#bytes += bytes.length;
    if (taken !== undefined) this.#taken.push(taken);
    if (this.#bytes >= messageBytes) {
      this.flush();
    } else if (!this.#isFlushQueued) {
      this.#isFlushQueued = true;
      process.nextTick(() => this.flush());
    }
  }

  writeLent(bytes: Uint8Array): void {
    this.write(bytes); // copied in this turn
  }

  flush(): void {
    this.#isFlushQueued = false;
    if (this.#bytes === 0 || this.#isClosed) return;
    const [pieces, taken, bytes] = [this.#pieces, this.#taken, this.#bytes];
    this.#pieces = [];
    this.#taken = [];
    this.#bytes = 0;
    this.#end.send(pieces, bytes, () => {
      if (this.#isClosed) return;
      for (const tell of taken) tell();
      this.handler?.onFlushed?.();
    });
  }

  end(): void {
    if (!this.isWritable) return;
    this.flush();
    this.#isEnding = true;
    this.#end.end();
  }

  destroy(): void {
    this.#end.destroy();
  }

  /** Takes what came. */
  received(bytes: Uint8Array): void {
    this.handler?.onData(bytes);
  }

  /** The peer has nothing more to say. */
  ended(): void {
    this.handler?.onEnd();
  }

  /** It is over. */
  closed(error: Error | null): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const {handler} = this;
    this.handler = undefined;
    handler?.onClose(error ?? undefined);
  }
}
