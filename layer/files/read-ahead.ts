/**
 * Reads a file ahead of who reads it in order, so that a long way costs no more than its width.
 *
 * Theory of operation. The kernel asks for 128 KiB at most beyond what the program wants. So the first read gets
 * as much as `feature.fs.readonly_file_buffer` says, and each piece that is begun in order doubles what is asked
 * for ahead, up to AHEAD_BYTES, but not beyond the size that the file had when it was opened. Pieces are kept for who comes a little late, since the kernel asks by several
 * threads; whoever jumps about is served by single requests. What was read longer ago than KEEP_MS is
 * not believed any more: the kernel has its own cache, which it checks by then.
 */

/** Asks for a piece of the file; fewer bytes than wanted are its end. */
export type ReadPiece = (offset: number, length: number) => Promise<Uint8Array>;

const PIECE_BYTES = 131_072;
/** 1.6 Gbit/s at 20 ms. */
const AHEAD_BYTES = 4_194_304;
/** How far back a read still counts as one in order. */
const BEHIND_BYTES = 1_048_576;
const KEEP_MS = 1000;

interface Piece {
  readonly bytes: Promise<Uint8Array>;
  readonly readAt: number;
}

export class ReadAhead {
  readonly #read: ReadPiece;
  readonly #now: () => number;
  readonly #isOff: boolean;
  readonly #pieces = new Map<number, Piece>();
  #windowBytes: number;
  /** Where the next read in order begins. */
  #next = 0;
  /** No piece beyond is asked for before somebody wants it: it would be empty. */
  #end: number;
  readonly #size: number;

  /** `firstBytes`: how much is read at first; 0 turns it off. `size`: of the file, when it was opened. */
  constructor(
    read: ReadPiece,
    {firstBytes, size, now}: {firstBytes: number; size: number; now: () => number},
  ) {
    this.#read = read;
    this.#size = size;
    this.#end = size;
    this.#now = now;
    this.#isOff = firstBytes === 0;
    this.#windowBytes = Math.min(firstBytes, AHEAD_BYTES);
  }

  /** Reads `length` bytes, or fewer at the end. Returns parts, in order, which are not to be written to. */
  async read(offset: number, length: number): Promise<Uint8Array[]> {
    const isInOrder = offset <= this.#next && offset >= this.#next - BEHIND_BYTES;
    if (this.#isOff || !isInOrder) {
      if (!isInOrder) this.#restart(offset + length);
      return [await this.#read(offset, length)];
    }
    if (offset + length > this.#next) {
      const isNewPiece = pieceOf(offset + length) > pieceOf(this.#next) && offset > 0;
      this.#next = offset + length;
      if (isNewPiece) this.#windowBytes = Math.min(2 * this.#windowBytes, AHEAD_BYTES);
    }
    const pieces = this.#ask(offset, offset + length);
    const parts: Uint8Array[] = [];
    let at = offset;
    for (const {start, piece} of pieces) {
      const bytes = await piece.bytes;
      const part = bytes.subarray(at - start, Math.min(bytes.length, offset + length - start));
      if (part.length > 0) parts.push(part);
      at += part.length;
      if (bytes.length < PIECE_BYTES) {
        this.#end = Math.min(this.#end, start + bytes.length);
        // It may have grown since: whoever asks beyond the end asks the file.
        if (offset + length > start + bytes.length) this.#pieces.delete(start);
        break;
      }
    }
    return parts;
  }

  /** Forgets all: the file was written to. */
  clear(): void {
    this.#pieces.clear();
    this.#end = this.#size;
  }

  #restart(next: number): void {
    this.#pieces.clear();
    this.#next = next;
    this.#end = this.#size;
    this.#windowBytes = Math.min(this.#windowBytes, PIECE_BYTES);
  }

  /** The pieces from `offset` to `end`; asks for more beyond. */
  #ask(offset: number, end: number): {start: number; piece: Piece}[] {
    const wanted: {start: number; piece: Piece}[] = [];
    const first = offset - (offset % PIECE_BYTES);
    for (const start of this.#pieces.keys()) {
      if (start < first - BEHIND_BYTES) this.#pieces.delete(start);
    }
    for (let start = first; start < end + this.#windowBytes; start += PIECE_BYTES) {
      if (start >= end && start >= this.#end) break;
      const piece = this.#piece(start);
      if (start < end) wanted.push({start, piece});
    }
    return wanted;
  }

  #piece(start: number): Piece {
    const known = this.#pieces.get(start);
    const now = this.#now();
    if (known !== undefined && now - known.readAt < KEEP_MS) return known;
    const bytes = this.#read(start, PIECE_BYTES);
    // Whoever waits for it hears of a failure; the next one asks again.
    bytes.catch(() => this.#pieces.delete(start));
    const piece = {bytes, readAt: now};
    this.#pieces.set(start, piece);
    return piece;
  }
}

function pieceOf(offset: number): number {
  return Math.floor(offset / PIECE_BYTES);
}
