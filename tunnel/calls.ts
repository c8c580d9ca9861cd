/**
 * Calls: a question in the body of OPEN, an answer as a sequence of items.
 *
 * Each item is a uint32 length and so many bytes of MessagePack; FIN ends the sequence. An answer to
 * a *unary* call is exactly one item; a *subscription* has as many as it likes, for as long as the
 * caller does not reset it. A call that fails is refused or reset, with an errno: ENOSYS is a method
 * that the peer does not know, EINVAL a wrong parameter.
 */

import {ProtocolError} from './errors.ts';
import {readUint32, writeUint32} from './frames.ts';
import {CALL_ITEM_BYTES} from './limits.ts';
import {decodeItem, encodeItem} from './msgpack.ts';
import type {Mux} from './mux.ts';
import type {ErrnoName, MuxStream} from './types.ts';

/** What a caller asks. */
export interface CallRequest {
  readonly method: string;
  /** Checked by the method. */
  readonly params: unknown;
}

/** A call that the peer refused or broke off, by errno. */
export class CallError extends Error {
  readonly code: ErrnoName;
  readonly method: string;

  constructor(method: string, code: ErrnoName) {
    super(`${method}: ${code}`);
    this.name = 'CallError';
    this.code = code;
    this.method = method;
  }
}

/** What a caller hears; after `onEnd` nothing. */
export interface CallHandler {
  onItem(item: unknown): void;
  /** The sequence is over; with an errno when it did not end in good order. */
  onEnd(errno: ErrnoName | undefined): void;
}

/** Returns the body of OPEN for a call. */
export function emitCall(request: CallRequest): Uint8Array {
  return encodeItem(request);
}

/** Reads the body of OPEN for a call. Throws ProtocolError CALL_MALFORMED or CALL_TOO_DEEP. */
export function parseCall(body: Uint8Array): CallRequest {
  const request = decodeItem(body);
  if (typeof request !== 'object' || request === null || !('method' in request)) {
    throw new ProtocolError('CALL_MALFORMED');
  }
  const {method} = request;
  if (typeof method !== 'string' || method.length > 64) throw new ProtocolError('CALL_MALFORMED');
  return {method, params: 'params' in request ? request.params : undefined};
}

/** Cuts a stream of bytes into items. */
export class ItemReader {
  readonly #head = new Uint8Array(4);
  #headBytes = 0;
  #item: Uint8Array | undefined;
  #itemBytes = 0;

  /** Whether the bytes so far end with a whole item. */
  get isWhole(): boolean {
    return this.#headBytes === 0;
  }

  /** Returns the items that `chunk` completes. Throws ProtocolError CALL_…. */
  push(chunk: Uint8Array): unknown[] {
    const items: unknown[] = [];
    let offset = 0;
    while (offset < chunk.length) {
      offset += this.#headBytes < 4 ? this.#fillHead(chunk, offset) : this.#fillItem(chunk, offset);
      if (this.#item === undefined || this.#itemBytes < this.#item.length) continue;
      items.push(decodeItem(this.#item));
      this.#item = undefined;
      this.#headBytes = 0;
    }
    return items;
  }

  #fillHead(chunk: Uint8Array, offset: number): number {
    this.#head[this.#headBytes++] = chunk[offset] ?? 0;
    if (this.#headBytes < 4) return 1;
    const length = readUint32(this.#head, 0);
    if (length > CALL_ITEM_BYTES) throw new ProtocolError('CALL_ITEM_TOO_BIG');
    if (length === 0) throw new ProtocolError('CALL_MALFORMED');
    this.#item = new Uint8Array(length);
    this.#itemBytes = 0;
    return 1;
  }

  #fillItem(chunk: Uint8Array, offset: number): number {
    if (this.#item === undefined) return 0;
    const count = Math.min(this.#item.length - this.#itemBytes, chunk.length - offset);
    this.#item.set(chunk.subarray(offset, offset + count), this.#itemBytes);
    this.#itemBytes += count;
    return count;
  }
}

/** Writes items into an accepted stream, as its credit allows. */
export class ItemWriter {
  readonly #stream: MuxStream;
  readonly #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #isEnding = false;

  /** Takes over `onWritable` of the stream: its owner must call `flush` from there. */
  constructor(stream: MuxStream) {
    this.#stream = stream;
  }

  /** Queues an item; false: the caller reads too slowly, and the stream was reset with ENOBUFS. */
  send(item: unknown): boolean {
    const bytes = encodeItem(item);
    const head = new Uint8Array(4);
    writeUint32(head, 0, bytes.length);
    this.#waiting.push(head, bytes);
    this.#waitingBytes += 4 + bytes.length;
    this.flush();
    if (this.#waitingBytes <= CALL_ITEM_BYTES + 4) return true;
    this.#waiting.length = 0;
    this.#stream.reset('ENOBUFS');
    return false;
  }

  /** Ends the sequence after what is queued. */
  end(): void {
    this.#isEnding = true;
    this.flush();
  }

  /** Writes what the stream takes now. */
  flush(): void {
    for (;;) {
      const first = this.#waiting[0];
      if (first === undefined) break;
      const count = Math.min(first.length, this.#stream.writable);
      if (count === 0) return;
      this.#stream.write(first.subarray(0, count));
      this.#waitingBytes -= count;
      if (count === first.length) this.#waiting.shift();
      else this.#waiting[0] = first.subarray(count);
    }
    if (this.#isEnding) this.#stream.end();
  }
}

/** Starts a call. The returned stream's `reset('ECANCELED')` ends it from this side. */
export function startCall(mux: Mux, request: CallRequest, handler: CallHandler): MuxStream {
  const reader = new ItemReader();
  let received = 0;
  let hasEnded = false;
  const end = (errno: ErrnoName | undefined): void => {
    if (hasEnded) return;
    hasEnded = true;
    handler.onEnd(errno);
  };
  const stream = mux.open('call', emitCall(request), {
    onData(chunk) {
      received += chunk.length;
      // Items are put together here, and bounded here: their bytes are consumed at once.
      stream.consumed(received);
      for (const item of reader.push(chunk)) handler.onItem(item);
    },
    onEnd() {
      stream.end();
      end(reader.isWhole ? undefined : 'EPROTO');
    },
    onRefused: end,
    onReset: end,
  });
  return stream;
}

/** Makes a unary call. Rejects with CallError, or with the reason of `signal`. */
export function callOnce(mux: Mux, request: CallRequest, signal?: AbortSignal): Promise<unknown> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    let items = 0;
    let answer: unknown;
    const cancel = (): void => {
      stream.reset('ECANCELED');
      reject(signal?.reason);
    };
    const stream = startCall(mux, request, {
      onItem(item) {
        items++;
        answer = item;
      },
      onEnd(errno) {
        signal?.removeEventListener('abort', cancel);
        if (errno === undefined && items === 1) resolve(answer);
        else reject(new CallError(request.method, errno ?? 'EPROTO'));
      },
    });
    signal?.addEventListener('abort', cancel);
  });
}
