/**
 * Reads a file ahead of who reads it in order, so that a long way costs no more than its width.
 *
 * Theory of operation. The kernel asks for 128 KiB at most beyond what the program wants. So the first read gets
 * as much as `feature.fs.readonly_file_buffer` says, and from then on as much is asked for ahead as was read in order,
 * up to AHEAD_BYTES, but not beyond the size that the file had when it was opened. Whoever jumps about is served by
 * single requests; after a jump nothing is read ahead before RUN_BYTES were read in order from there, for one who reads
 * large blocks from anywhere would wait behind what nobody wants. Pieces are kept for who comes a little late, since
 * the kernel asks by several threads. What was read longer ago than KEEP_MS is not believed any more: the kernel has
 * its own cache, which it checks by then.
 *
 * A small file comes whole with the answer to its opening, as a piece that is there already.
 */

/** Asks for a piece of the file; fewer bytes than wanted are its end. */
export type ReadPiece = (offset: number, length: number) => Promise<Uint8Array>;

const PIECE_BYTES = 131_072;
/** 3.2 Gbit/s at 20 ms. */
const AHEAD_BYTES = 8_388_608;
/** Of all files together: those of eight who read as fast as that. */
const TOTAL_BYTES = 67_108_864;
/** How far back a read still counts as one in order. */
const BEHIND_BYTES = 1_048_576;
/** The largest block of who reads blocks. */
const RUN_BYTES = 1_048_576;
const KEEP_MS = 1000;

/** What all files have read ahead, together. */
export class ReadAheadMemory {
  /** Bytes of pieces that were asked for and are kept. */
  bytes = 0;
  /** Pieces that were not asked for ahead, for lack of room. */
  refused = 0;
}

interface Piece {
  readonly bytes: Promise<Uint8Array>;
  readonly readAt: number;
}

export interface ReadAheadOptions {
  /** How much is read at first; 0 turns it off. */
  readonly firstBytes: number;
  /** Of the file, when it was opened. */
  readonly size: number;
  /** All of it, if that is known. */
  readonly content?: Uint8Array | undefined;
  readonly memory?: ReadAheadMemory;
  readonly now: () => number;
}

export class ReadAhead {
  readonly #read: ReadPiece;
  readonly #now: () => number;
  readonly #isOff: boolean;
  readonly #memory: ReadAheadMemory;
  readonly #pieces = new Map<number, Piece>();
  readonly #size: number;
  #windowBytes: number;
  /** Where reading in order began, and where the next such read begins. */
  #start = 0;
  #next = 0;
  /** No piece beyond is asked for before somebody wants it: it would be empty. */
  #end: number;

  constructor(
    read: ReadPiece,
    {firstBytes, size, content, memory = new ReadAheadMemory(), now}: ReadAheadOptions,
  ) {
    this.#read = read;
    this.#size = size;
    this.#end = size;
    this.#now = now;
    this.#isOff = firstBytes === 0;
    this.#memory = memory;
    this.#windowBytes = Math.min(firstBytes, AHEAD_BYTES);
    if (content !== undefined) this.#keep(0, Promise.resolve(content));
  }

  /** Reads `length` bytes, or fewer at the end. Returns parts, in order, which are not to be written to. */
  async read(offset: number, length: number): Promise<Uint8Array[]> {
    const isInOrder =
      offset <= this.#next + this.#windowBytes && offset >= this.#next - BEHIND_BYTES;
    if (this.#isOff || !isInOrder) {
      if (!isInOrder) this.#restart(offset, offset + length);
      return [await this.#read(offset, length)];
    }
    this.#next = Math.max(this.#next, offset + length);
    const run = this.#next - this.#start;
    if (this.#start === 0 || run > RUN_BYTES) {
      this.#windowBytes = Math.min(Math.max(this.#windowBytes, run), AHEAD_BYTES);
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
        if (offset + length > start + bytes.length) this.#drop(start);
        break;
      }
    }
    return parts;
  }

  /** Forgets all: the file was written to, or is closed. */
  clear(): void {
    for (const start of this.#pieces.keys()) this.#drop(start);
    this.#end = this.#size;
  }

  #restart(start: number, next: number): void {
    this.clear();
    this.#start = start;
    this.#next = next;
    this.#windowBytes = 0;
  }

  /** The pieces from `offset` to `end`; asks for more beyond. */
  #ask(offset: number, end: number): {start: number; piece: Piece}[] {
    const wanted: {start: number; piece: Piece}[] = [];
    const first = offset - (offset % PIECE_BYTES);
    for (const start of this.#pieces.keys()) {
      if (start < first - BEHIND_BYTES) this.#drop(start);
    }
    for (let start = first; start < end + this.#windowBytes; start += PIECE_BYTES) {
      if (start >= end) {
        if (start >= this.#end) break;
        if (this.#memory.bytes >= TOTAL_BYTES) {
          this.#memory.refused++;
          break;
        }
      }
      const piece = this.#piece(start);
      if (start < end) wanted.push({start, piece});
    }
    return wanted;
  }

  #piece(start: number): Piece {
    const known = this.#pieces.get(start);
    if (known !== undefined && this.#now() - known.readAt < KEEP_MS) return known;
    return this.#keep(start, this.#read(start, PIECE_BYTES));
  }

  #keep(start: number, bytes: Promise<Uint8Array>): Piece {
    this.#drop(start);
    const piece = {bytes, readAt: this.#now()};
    this.#pieces.set(start, piece);
    this.#memory.bytes += PIECE_BYTES;
    // Whoever waits for it hears of a failure; the next one asks again.
    bytes.catch(() => {
      if (this.#pieces.get(start) === piece) this.#drop(start);
    });
    return piece;
  }

  #drop(start: number): void {
    if (this.#pieces.delete(start)) this.#memory.bytes -= PIECE_BYTES;
  }
}
