/**
 * What waits for the kernel to take it: pieces in order, in as few buffers as possible.
 *
 * A piece is its owner's until it is taken, or lent for this turn: what is left of a lent one then is copied behind
 * what was copied before, so that a window of single bytes costs a buffer and not one for each.
 */

/** Lent pieces that are left are gathered in buffers of this size. */
const GATHER_BYTES = 4096;
/** So many pieces are written at once (MAX_PARTS of layer/native/socket.c). */
export const MAX_PARTS = 64;

interface Piece {
  bytes: Uint8Array;
  taken: (() => void) | undefined;
  /** Whether it must be copied if the kernel does not take it in this turn. */
  isLent: boolean;
  /** A buffer of ours that `bytes` is the beginning of, with room behind. */
  gather: Uint8Array | undefined;
}

const NOTHING = new Uint8Array(0);

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
    this.#pieces.push({bytes, taken, isLent, gather: undefined});
  }

  /** Puts the next pieces into `parts`; returns how many. */
  fill(parts: Uint8Array[]): number {
    const count = Math.min(this.#pieces.length - this.#head, MAX_PARTS);
    for (let i = 0; i < count; i++) parts[i] = this.#pieces[this.#head + i]?.bytes ?? NOTHING;
    return count;
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
    this.#pieces.length = 0;
    this.#head = 0;
    this.#firstLent = -1;
    this.#bytes = 0;
  }

  #keep(bytes: Uint8Array): void {
    const last = this.#head < this.#pieces.length ? this.#pieces.at(-1) : undefined;
    const {gather} = last ?? {};
    if (
      last !== undefined &&
      gather !== undefined &&
      last.bytes.length + bytes.length <= gather.length
    ) {
      gather.set(bytes, last.bytes.length);
      last.bytes = gather.subarray(0, last.bytes.length + bytes.length);
      return;
    }
    const own = new Uint8Array(Math.max(bytes.length, GATHER_BYTES));
    own.set(bytes);
    this.#pieces.push({
      bytes: own.subarray(0, bytes.length),
      taken: undefined,
      isLent: false,
      gather: own,
    });
  }
}
