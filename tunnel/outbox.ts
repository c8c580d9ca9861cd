/**
 * The bytes a stream has waiting to be sent: frames under construction, and the buffers they use.
 *
 * `append` is the only copy: it writes behind the head-room of a frame buffer, so that a full frame
 * becomes a WebSocket message by filling in its header. Buffers of the two frame sizes come from a
 * pool and return to it when the driver says that a message has left (`Mux.recycle`).
 *
 * What all outboxes of a tunnel hold together is watched too: the peer's credit says what the peer
 * can take, but not that the connection in between is fast enough to bring it there. Tunnels that share
 * memory are *clogged* when all of them have too much waiting, and this one more than a little.
 */

import {emitHeader, FRAME} from './frames.ts';
import {
  HEADER_BYTES,
  LARGE_FRAME_BYTES,
  OUTBOX_BYTES,
  OUTBOX_TIGHT_BYTES,
  OUTBOX_TIGHT_TOTAL_BYTES,
  QUEUED_FLOOR_BYTES,
  SMALL_FRAME_BYTES,
} from './limits.ts';
import type {Pool} from './memory.ts';
import {Ring} from './ring.ts';

const LARGE_BUFFER_BYTES = HEADER_BYTES + LARGE_FRAME_BYTES;
const SMALL_BUFFER_BYTES = HEADER_BYTES + SMALL_FRAME_BYTES;
/** A buffer for a little data is not worth keeping. */
const TINY_PAYLOAD_BYTES = 4096;
/** Of each size, for all tunnels of the process: what 1 GB/s has on its way in 16 ms, until it is acknowledged. */
const POOLED_BUFFERS = 256;

const freeLarge: Uint8Array[] = [];
const freeSmall: Uint8Array[] = [];

/** Buffers with head-room, and the sum of what waits in them. */
export class FramePool {
  /** Called once after `awaitRoom`, when it is not clogged any more. */
  onRoom: (() => void) | undefined;
  readonly #shared: Pool | undefined;
  readonly #freed = (): void => this.#tellRoom();
  #queuedBytes = 0;
  #isAwaited = false;
  #isShut = false;

  /** `shared`: what waits in other tunnels counts, too. */
  constructor(shared?: Pool) {
    this.#shared = shared;
  }

  /** Payload bytes waiting in all outboxes, and datagrams. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** How much one stream may have waiting at this time. */
  get outboxBytes(): number {
    return this.#queuedBytes > OUTBOX_TIGHT_TOTAL_BYTES ? OUTBOX_TIGHT_BYTES : OUTBOX_BYTES;
  }

  /** Whether memory is short: streams should take nothing more. */
  get isClogged(): boolean {
    return this.#queuedBytes >= QUEUED_FLOOR_BYTES && this.#shared?.isFull === true;
  }

  /** Notes that so much more waits, or less. */
  queue(bytes: number): void {
    if (this.#isShut) return;
    this.#queuedBytes += bytes;
    if (this.#shared === undefined) return;
    this.#shared.change(bytes);
    // Not for every frame: only when half of what a tunnel has for sure is free.
    if (this.#isAwaited && this.#queuedBytes <= QUEUED_FLOOR_BYTES / 2) this.#tellRoom();
  }

  /** Calls `onRoom` when it is not clogged any more. */
  awaitRoom(): void {
    if (this.#isAwaited || this.#shared === undefined) return;
    this.#isAwaited = true;
    this.#shared.whenFree(this.#freed);
  }

  /** Nothing is sent any more: what still waits is dropped. */
  shut(): void {
    if (this.#isShut) return;
    this.#isShut = true;
    this.#shared?.forget(this.#freed);
    this.#shared?.change(-this.#queuedBytes);
    this.#queuedBytes = 0;
  }

  #tellRoom(): void {
    if (!this.#isAwaited || this.#isShut) return;
    this.#isAwaited = false;
    this.onRoom?.();
  }

  /** Returns a buffer for a header and at least `payloadBytes` (at most LARGE_FRAME_BYTES). */
  take(payloadBytes: number): Uint8Array {
    if (payloadBytes <= TINY_PAYLOAD_BYTES) return new Uint8Array(HEADER_BYTES + payloadBytes);
    if (payloadBytes <= SMALL_FRAME_BYTES) {
      return freeSmall.pop() ?? new Uint8Array(SMALL_BUFFER_BYTES);
    }
    return freeLarge.pop() ?? new Uint8Array(LARGE_BUFFER_BYTES);
  }

  /** Takes back the buffer under a frame or message that nobody looks at any more. */
  give(frame: Uint8Array): void {
    const bytes = frame.buffer.byteLength;
    if (frame.byteOffset !== 0 || !(frame.buffer instanceof ArrayBuffer)) return;
    const free = bytes === LARGE_BUFFER_BYTES ? freeLarge : freeSmall;
    if (bytes !== LARGE_BUFFER_BYTES && bytes !== SMALL_BUFFER_BYTES) return;
    if (free.length < POOLED_BUFFERS) free.push(new Uint8Array(frame.buffer));
  }
}

/** A buffer with head-room; its payload ends at `end`. */
interface OpenFrame {
  readonly buffer: Uint8Array;
  end: number;
}

/** The waiting bytes of one stream. */
export class Outbox {
  readonly #pool: FramePool;
  readonly #frames = new Ring<OpenFrame>();
  #bytes = 0;

  constructor(pool: FramePool) {
    this.#pool = pool;
  }

  /** Payload bytes waiting. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Payload bytes of the first frame; 0 when nothing waits. */
  get headBytes(): number {
    const head = this.#frames.peek();
    return head === undefined ? 0 : head.end - HEADER_BYTES;
  }

  /** Copies `chunk` into frames of at most `frameBytes` payload. */
  append(chunk: Uint8Array, frameBytes: number): void {
    this.#bytes += chunk.length;
    this.#pool.queue(chunk.length);
    let offset = 0;
    while (offset < chunk.length) {
      const frame = this.#tail(chunk.length - offset, frameBytes);
      const count = Math.min(frame.buffer.length - frame.end, chunk.length - offset);
      // A chunk that fits is not worth a view of it.
      const part = count === chunk.length ? chunk : chunk.subarray(offset, offset + count);
      frame.buffer.set(part, frame.end);
      frame.end += count;
      offset += count;
    }
  }

  /** Takes the first frame out, with its header; it belongs to the caller. */
  shift(stream: number): Uint8Array | undefined {
    const frame = this.#frames.shift();
    if (frame === undefined) return undefined;
    const length = frame.end - HEADER_BYTES;
    this.#bytes -= length;
    this.#pool.queue(-length);
    emitHeader(frame.buffer, 0, {type: FRAME.data, stream, length});
    return frame.end === frame.buffer.length ? frame.buffer : frame.buffer.subarray(0, frame.end);
  }

  /** Drops what waits. */
  clear(): void {
    this.#pool.queue(-this.#bytes);
    this.#bytes = 0;
    for (let frame = this.#frames.shift(); frame; frame = this.#frames.shift()) {
      this.#pool.give(frame.buffer);
    }
  }

  /** Returns the last frame if there is room in it, or a new one sized by what is on its way. */
  #tail(neededBytes: number, frameBytes: number): OpenFrame {
    const last = this.#frames.last();
    if (last !== undefined && last.end < last.buffer.length) return last;
    // A stream with a backlog will fill a whole frame; one that sends a line now and then will not.
    const wanted = last === undefined ? neededBytes : Math.max(neededBytes, this.#bytes);
    const buffer = this.#pool.take(Math.min(frameBytes, wanted));
    const frame = {buffer, end: HEADER_BYTES};
    this.#frames.push(frame);
    return frame;
  }
}
