/**
 * What the kernel has not taken yet of the bytes for one connection of the pod.
 *
 * Theory of operation. Node keeps what the kernel does not take, chunk by chunk. A chunk costs half a
 * kibibyte besides its bytes, so that a window of single bytes would cost a hundred megabytes; and it may be a
 * small part of the buffer it came in, which it keeps alive. So as soon as the socket is behind, small chunks
 * are gathered, and what comes in a much larger buffer is copied out of it. A socket that keeps up is written
 * to as it comes.
 *
 * All that waits is counted in a pool that connections share (`tunnel/memory.ts`). When that is used up, who
 * adds to more than a little is told that there is no room; a little each may have beyond it.
 */

import type {Socket} from 'node:net';
import type {Capacity} from '../capacity.ts';

/** Smaller chunks are gathered, in buffers of this size. */
const GATHER_BYTES = 4096;
/** What a connection may have waiting although the pool is used up, and by how much that may exceed it. */
const LITTLE_BYTES = 16_384;
const EXCESS = 1.25;

/** The bytes that wait for one socket. */
export class Backlog {
  readonly #socket: Socket;
  readonly #capacity: Capacity | undefined;
  /** Called when the kernel has taken something. */
  readonly #onTaken: () => void;
  readonly #written = (): void => this.#onWritten();
  #gathered: Uint8Array | undefined;
  #gatheredBytes = 0;
  #countedBytes = 0;
  #isClosed = false;

  constructor(socket: Socket, capacity: Capacity | undefined, onTaken: () => void) {
    this.#socket = socket;
    this.#capacity = capacity;
    this.#onTaken = onTaken;
  }

  /** Bytes that wait. */
  get bytes(): number {
    return this.#socket.writableLength + this.#gatheredBytes;
  }

  /** Writes bytes, of which it may keep the memory; false: there is no room, and the connection should end. */
  write(chunk: Uint8Array): boolean {
    if (this.bytes === 0) {
      this.#socket.write(chunk, this.#written);
    } else if (chunk.length < GATHER_BYTES) {
      this.#gather(chunk);
    } else {
      this.#flush();
      const isView = chunk.buffer.byteLength > 2 * chunk.length;
      this.#socket.write(isView ? new Uint8Array(chunk) : chunk, this.#written);
    }
    this.#count();
    if (this.#fits) return true;
    if (this.#capacity !== undefined) this.#capacity.connectionsDropped++;
    return false;
  }

  /** Nothing more is written: ends this direction after what waits. */
  end(): void {
    this.#flush();
    this.#socket.end();
  }

  /** The socket is closed: nothing waits any more. */
  close(): void {
    this.#isClosed = true;
    this.#gathered = undefined;
    this.#gatheredBytes = 0;
    this.#capacity?.memory.held.change(-this.#countedBytes);
    this.#countedBytes = 0;
  }

  #gather(chunk: Uint8Array): void {
    if (this.#gatheredBytes + chunk.length > GATHER_BYTES) this.#flush();
    this.#gathered ??= new Uint8Array(GATHER_BYTES);
    this.#gathered.set(chunk, this.#gatheredBytes);
    this.#gatheredBytes += chunk.length;
  }

  #flush(): void {
    const gathered = this.#gathered;
    if (gathered === undefined) return;
    const bytes = this.#gatheredBytes;
    this.#gathered = undefined;
    this.#gatheredBytes = 0;
    this.#socket.write(gathered.subarray(0, bytes), this.#written);
  }

  #onWritten(): void {
    if (this.#isClosed) return;
    // Node has counted the chunk off already.
    if (this.#socket.writableLength === 0) this.#flush();
    this.#count();
    this.#onTaken();
  }

  #count(): void {
    if (this.#capacity === undefined || this.#isClosed) return;
    const {bytes} = this;
    this.#capacity.memory.held.change(bytes - this.#countedBytes);
    this.#countedBytes = bytes;
  }

  /** Whether what waits may wait. */
  get #fits(): boolean {
    if (this.#capacity === undefined || this.#countedBytes === 0) return true;
    const {held} = this.#capacity.memory;
    if (!held.isFull) return true;
    return this.#countedBytes <= LITTLE_BYTES && held.bytes < EXCESS * held.capBytes;
  }
}
