/**
 * What sockets are given to write while they are told of events: written at the end of it, for all of them in one call.
 *
 * Theory of operation. A call into the addon, and each array that it is to look into, costs about as much as the
 * kernel needs for a small message. So what is to be written is told by numbers (`cells`): for each socket how many
 * parts there are, and of each an offset in the memory that all sockets read into, and a length. What was read in this
 * turn and is passed on is there already; what is small is copied behind it. A socket that has something else to
 * write does it by itself, with a call of its own.
 */

import type {Addon, Handle} from './native.ts';
import {MAX_PARTS} from './write-queue.ts';

/** What is copied to be written, in one call. */
export const OUTBOX_BYTES = 65_536;
/** Larger parts are not copied. */
const PART_BYTES = 2048;
/** Numbers: 400 sockets with two parts each. What finds no room is written by itself. */
const CELLS = 2500;

/** A socket that has something to write. */
export interface Flushable {
  /** Gives what it can to the outbox, by `put`; returns whether it did, and wants to hear of it. */
  offer(outbox: Outbox): boolean;
  /** What came of it: bytes, or a negative errno. */
  onOffered(written: number): void;
  /** Writes by itself. */
  flush(): void;
}

export class Outbox {
  /** What the addon reads, and where it puts what came of it. */
  readonly cells = new Int32Array(CELLS);
  readonly #memory: Uint8Array;
  readonly #begin: number;
  #isOpen = false;
  #waiting: Flushable[] = [];
  #next: Flushable[] = [];
  /** Of each group: whose it is, and the cell that it begins at. */
  readonly #offered: Flushable[] = [];
  readonly #places: number[] = [];
  #used = 0;
  #usedCells = 0;

  /** `begin`: where in the memory there is room for `OUTBOX_BYTES`. */
  constructor(memory: Uint8Array, begin: number) {
    this.#memory = memory;
    this.#begin = begin;
  }

  /** Sockets are about to be told of something. */
  open(): void {
    this.#isOpen = true;
  }

  /** Has a socket flushed later: when all were told, or else at the end of the turn. */
  add(socket: Flushable): void {
    if (this.#isOpen) this.#waiting.push(socket);
    else process.nextTick(flush, socket);
  }

  /** Writes what there is, and what that leads to. */
  close(addon: Addon): void {
    while (this.#waiting.length > 0) this.#round(addon);
    this.#isOpen = false;
  }

  /** Adds what a socket writes; false if there is no room for it. */
  put(parts: readonly Uint8Array[], count: number, handle: Handle): boolean {
    const first = this.#usedCells;
    if (count > MAX_PARTS || first + 2 + 2 * count > CELLS) return false;
    const used = this.#used;
    let cell = first + 2;
    for (let at = 0; at < count; at++) {
      const part = parts[at] as Uint8Array;
      const offset = part.buffer === this.#memory.buffer ? part.byteOffset : this.#copy(part);
      if (offset < 0) {
        this.#used = used;
        return false;
      }
      this.cells[cell++] = offset;
      this.cells[cell++] = part.length;
    }
    this.cells[first] = handle;
    this.cells[first + 1] = count;
    this.#usedCells = cell;
    this.#places.push(first);
    return true;
  }

  /** Copies a part behind the others; returns where it is, -1 if there is no room. */
  #copy(part: Uint8Array): number {
    if (part.length > PART_BYTES || this.#used + part.length > OUTBOX_BYTES) return -1;
    const offset = this.#begin + this.#used;
    this.#memory.set(part, offset);
    this.#used += part.length;
    return offset;
  }

  #round(addon: Addon): void {
    const waiting = this.#waiting;
    this.#waiting = this.#next;
    this.#next = waiting;
    this.#used = this.#usedCells = 0;
    this.#offered.length = this.#places.length = 0;
    for (const socket of waiting) {
      try {
        if (socket.offer(this)) this.#offered.push(socket);
        else socket.flush();
      } catch (error) {
        throwLater(error);
      }
    }
    waiting.length = 0;
    if (this.#offered.length === 0) return;
    addon.writeAll(this.#offered.length);
    for (let at = 0; at < this.#offered.length; at++) {
      try {
        this.#offered[at]?.onOffered(this.cells[this.#places[at] ?? 0] ?? 0);
      } catch (error) {
        throwLater(error);
      }
    }
  }
}

function flush(socket: Flushable): void {
  socket.flush();
}

/** A mistake in what one socket leads to is not the others' fault. */
export function throwLater(error: unknown): void {
  queueMicrotask(() => {
    throw error;
  });
}
