/**
 * What waits for the kernel to take it: pieces in order, in as few buffers as possible.
 *
 * A piece is its owner's until it is taken, or lent for this turn: what is left of a lent one then is copied behind
 * what was copied before, so that a window of single bytes costs a buffer and not one for each.
 */

/** Lent pieces that are left are gathered in buffers of this size, */
const GATHER_BYTES = 4096;
/**
 * or, where a piece is larger, in buffers of this one, which are used again: memory outside of V8's heap that lives for
 * a while has V8 collect everything (tunnel/garbage.ts).
 */
const POOLED_BYTES = 65_536;
/** Such buffers that are kept for the next who need one: 4 MiB, as much as a connection holds that is full. */
const POOLED_MAX = 64;
/** So many pieces are written at once (MAX_PARTS of layer/native/socket.c). */
export const MAX_PARTS = 64;

interface Piece {
  bytes: Uint8Array;
  taken: (() => void) | undefined;
  /** Whether it must be copied if the kernel does not take it in this turn. */
  isLent: boolean;
  /** A buffer of ours that `bytes` is the beginning of, with room behind. */
  gather: Uint8Array | undefined;
  /** The buffer that is used again when the piece is gone. */
  pooled: Uint8Array | undefined;
}

const pool: Uint8Array[] = [];

function release({pooled}: Piece): void {
  if (pooled !== undefined && pool.length < POOLED_MAX) pool.push(pooled);
}

const NOTHING = new Uint8Array(0);
const NO_PIECES: readonly Uint8Array[] = [];

export class WriteQueue {
  readonly #pieces: Piece[] = [];
  #head = 0;
  /** Of the pieces of this turn, which are the last ones; -1: none is lent. */
  #firstLent = -1;
  #bytes = 0;

  /** Bytes that wait. */
  get bytes(): number {
    return this.#bytes;
  }

  push(bytes: Uint8Array, isLent: boolean, taken?: () => void): void {
    this.#bytes += bytes.length;
    if (isLent && this.#firstLent < 0) this.#firstLent = this.#pieces.length;
    this.#pieces.push({bytes, taken, isLent, gather: undefined, pooled: undefined});
  }

  /** Puts the next pieces into `parts`; returns how many. */
  fill(parts: Uint8Array[]): number {
    const count = Math.min(this.#pieces.length - this.#head, MAX_PARTS);
    for (let i = 0; i < count; i++) parts[i] = this.#pieces[this.#head + i]?.bytes ?? NOTHING;
    return count;
  }

  /** All pieces, as they are now. */
  all(): readonly Uint8Array[] {
    if (this.#bytes === 0) return NO_PIECES;
    const all: Uint8Array[] = [];
    for (let at = this.#head; at < this.#pieces.length; at++)
      all.push(this.#pieces[at]?.bytes ?? NOTHING);
    return all;
  }

  /** Notes that the kernel has taken so many bytes, and tells the pieces' owners. */
  take(count: number): void {
    let left = count;
    this.#bytes -= count;
    while (this.#head < this.#pieces.length) {
      const piece = this.#pieces[this.#head];
      if (piece === undefined) break;
      if (piece.bytes.length > left) {
        if (left > 0) piece.bytes = piece.bytes.subarray(left);
        piece.gather = undefined; // it does not begin at its buffer's any more
        break;
      }
      left -= piece.bytes.length;
      this.#head++;
      release(piece);
      piece.pooled = undefined;
      piece.taken?.();
    }
    if (this.#head === this.#pieces.length) {
      this.#pieces.length = 0;
      this.#head = 0;
      this.#firstLent = -1;
    } else if (this.#head > 64 && this.#head * 2 > this.#pieces.length) {
      this.#pieces.splice(0, this.#head);
      this.#firstLent = this.#firstLent < 0 ? -1 : Math.max(0, this.#firstLent - this.#head);
      this.#head = 0;
    }
  }

  /** Copies what is left of lent pieces: their memory is about to be used again. */
  keep(): void {
    if (this.#firstLent < 0) return;
    const lent = this.#pieces.splice(Math.max(this.#firstLent, this.#head));
    this.#firstLent = -1;
    for (const piece of lent) {
      if (piece.isLent) this.#keep(piece.bytes);
      else this.#pieces.push(piece);
    }
  }

  clear(): void {
    for (const piece of this.#pieces) release(piece);
    this.#pieces.length = 0;
    this.#head = 0;
    this.#firstLent = -1;
    this.#bytes = 0;
  }

  #keep(bytes: Uint8Array): void {
    const last = this.#head < this.#pieces.length ? this.#pieces.at(-1) : undefined;
    const {gather} = last ?? {};
    let done = 0;
    if (last !== undefined && gather !== undefined) {
      const used = last.bytes.length;
      done = Math.min(bytes.length, gather.length - used);
      // A little of a large piece is not worth another buffer.
      if (done < bytes.length && bytes.length <= GATHER_BYTES) done = 0;
      gather.set(bytes.subarray(0, done), used);
      last.bytes = gather.subarray(0, used + done);
    }
    while (done < bytes.length) {
      const rest = bytes.subarray(done, done + POOLED_BYTES);
      const pooled =
        rest.length > GATHER_BYTES ? (pool.pop() ?? new Uint8Array(POOLED_BYTES)) : undefined;
      const own = pooled ?? new Uint8Array(GATHER_BYTES);
      own.set(rest);
      this.#pieces.push({
        bytes: own.subarray(0, rest.length),
        taken: undefined,
        isLent: false,
        gather: own,
        pooled,
      });
      done += rest.length;
    }
  }
}
