/**
 * Reads a file ahead of who reads it in order, so that a long way costs no more than its width.
 *
 * Theory of operation. The kernel asks for 128 KiB at most beyond what the program wants. So the first read gets
 * as much as `feature.fs.readonly_file_buffer` says, and from then on as much is asked for ahead as was read in order,
 * up to AHEAD_BYTES, but not beyond the size that the file had when it was opened. Whoever jumps about is served by
 * single requests, and nothing is read ahead before more than RUN_BYTES were read in order after a jump, for one who reads blocks from
 * anywhere would wait behind what nobody wants. But who reads large blocks will go on to do so: if the kernel's first
 * question after a jump is as large as its questions are, the rest of a block is asked for that is as long as the one before.
 * Pieces are kept for who comes a little late, since the kernel asks by several threads. What was read longer ago than
 * KEEP_MS is not believed any more: the kernel has its own cache, which it checks by then.
 *
 * A small file comes whole with the answer to its opening, as a piece that is there already. What is around small reads
 * from anywhere is another matter (ReadAround).
 */

import {ReadAround, type ReadAroundMemory, type Version} from './read-around.ts';
import {giveBack, type Reading, type ReadPiece, readingOf} from './read-buffers.ts';

const PIECE_BYTES = 131_072;
/** 3.2 Gbit/s at 20 ms. */
const AHEAD_BYTES = 8_388_608;
/** Of all files together: those of eight who read as fast as that. When they are there, the oldest makes room. */
const TOTAL_BYTES = 67_108_864;
/** How far back a read still counts as one in order. */
const BEHIND_BYTES = 1_048_576;
/** The largest block of who reads blocks. */
const RUN_BYTES = 1_048_576;
const KEEP_MS = 1000;

/** What all files have read ahead, together. */
export class ReadAheadMemory {
  /** Pieces that were asked for and are kept, the oldest first. */
  readonly pieces = new Set<Piece>();
  /** Pieces that were not asked for ahead, or not kept, for lack of room. */
  refused = 0;

  get isFull(): boolean {
    return this.pieces.size * PIECE_BYTES >= TOTAL_BYTES;
  }
}

interface Piece {
  readonly owner: ReadAhead;
  readonly start: number;
  readonly bytes: Promise<Uint8Array>;
  readonly readAt: number;
  /** Who reads it now; its memory is theirs. */
  uses: number;
  isDropped: boolean;
}

export interface ReadAheadOptions {
  /** How much is read at first; 0 turns it off. */
  readonly firstBytes: number;
  /** Of the file, when it was opened. */
  readonly size: number;
  /** All of it, if that is known. */
  readonly content?: Uint8Array | undefined;
  readonly memory?: ReadAheadMemory;
  /** For reading what is around small reads from anywhere; without it, nothing is. */
  readonly around?: {readonly memory: ReadAroundMemory; readonly version: () => Version};
  readonly now: () => number;
}

export class ReadAhead {
  readonly #read: ReadPiece;
  readonly #now: () => number;
  readonly #isOff: boolean;
  readonly #memory: ReadAheadMemory;
  readonly #around: ReadAround | undefined;
  readonly #pieces = new Map<number, Piece>();
  readonly #size: number;
  readonly #firstBytes: number;
  /** Where reading in order began, and where the next such read begins. */
  #start = 0;
  #next = 0;
  /** How long the block will be that is being read, as it seems; 0: nobody knows. */
  #blockBytes = 0;
  /** No piece beyond is asked for before somebody wants it: it would be empty. */
  #end: number;

  constructor(
    read: ReadPiece,
    {firstBytes, size, content, memory = new ReadAheadMemory(), around, now}: ReadAheadOptions,
  ) {
    this.#read = read;
    this.#size = size;
    this.#end = size;
    this.#now = now;
    this.#isOff = firstBytes === 0;
    this.#memory = memory;
    this.#around = around && new ReadAround(read, {...around, now});
    this.#firstBytes = firstBytes;
    if (content !== undefined && this.#hasRoom()) this.#keep(0, Promise.resolve(content));
  }

  /** Reads `length` bytes, or fewer at the end. */
  async read(offset: number, length: number): Promise<Reading> {
    if (this.#isOff) return await this.#readAlone(offset, length);
    const isInOrder = offset <= this.#aheadEnd && offset >= this.#next - BEHIND_BYTES;
    if (isInOrder) this.#next = Math.max(this.#next, offset + length);
    else this.#jump(offset, length);
    const near = this.#around?.find(offset, length);
    const found = near && (await near);
    if (found !== undefined) return found;
    if (!isInOrder) {
      const read = this.#around?.read(offset, length) ?? this.#readAlone(offset, length);
      if (this.#aheadEnd > this.#next) this.#ask(this.#next, this.#next);
      return await read;
    }
    const pieces = this.#ask(offset, offset + length);
    for (const {piece} of pieces) piece.uses++;
    const release = (): void => {
      for (const {piece} of pieces.splice(0)) {
        piece.uses--;
        recycle(piece);
      }
    };
    try {
      return {parts: await this.#collect(pieces, offset, length), release};
    } catch (error) {
      release();
      throw error;
    }
  }

  async #readAlone(offset: number, length: number): Promise<Reading> {
    return readingOf(await this.#read(offset, length));
  }

  async #collect(
    pieces: readonly {start: number; piece: Piece}[],
    offset: number,
    length: number,
  ): Promise<Uint8Array[]> {
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
    this.#around?.clear();
    this.#forget();
  }

  #forget(): void {
    for (const start of this.#pieces.keys()) this.#drop(start);
    this.#end = this.#size;
  }

  /** Up to where it makes sense to read. */
  get #aheadEnd(): number {
    const run = this.#next - this.#start;
    const isFromStart = this.#start === 0 && this.#blockBytes === 0;
    if (isFromStart) return this.#next + Math.min(Math.max(this.#firstBytes, run), AHEAD_BYTES);
    if (run > Math.max(RUN_BYTES, this.#blockBytes)) return this.#next + Math.min(run, AHEAD_BYTES);
    return Math.max(this.#next, this.#start + this.#blockBytes);
  }

  #jump(offset: number, length: number): void {
    const run = this.#next - this.#start;
    this.#forget();
    this.#start = offset;
    this.#next = offset + length;
    this.#blockBytes = length < PIECE_BYTES ? length : Math.min(Math.max(run, length), RUN_BYTES);
  }

  /** The pieces from `offset` to `end`; asks for more beyond. */
  #ask(offset: number, end: number): {start: number; piece: Piece}[] {
    const wanted: {start: number; piece: Piece}[] = [];
    const first = offset - (offset % PIECE_BYTES);
    const aheadEnd = Math.max(end, this.#aheadEnd);
    for (const start of this.#pieces.keys()) {
      if (start < first - BEHIND_BYTES) this.#drop(start);
    }
    for (let start = first; start < aheadEnd; start += PIECE_BYTES) {
      if (start >= end) {
        if (start >= this.#end) break;
        if (!this.#hasRoom()) break;
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

  /**
   * Whether there is room for a piece that nobody waits for. What is too old to be believed makes some: many files may be open that nobody
   * reads any more.
   */
  #hasRoom(): boolean {
    const memory = this.#memory;
    for (const {owner, start, readAt} of memory.pieces) {
      if (!memory.isFull || this.#now() - readAt < KEEP_MS) break;
      owner.#drop(start);
    }
    if (memory.isFull) memory.refused++;
    return !memory.isFull;
  }

  /** For a piece that is waited for the oldest goes, whoever's it is. */
  #keep(start: number, bytes: Promise<Uint8Array>): Piece {
    this.#drop(start);
    const [oldest] = this.#memory.pieces;
    if (this.#memory.isFull && oldest !== undefined) oldest.owner.#drop(oldest.start);
    const common = {owner: this, start, bytes, readAt: this.#now()};
    const piece: Piece = {...common, uses: 0, isDropped: false};
    this.#pieces.set(start, piece);
    this.#memory.pieces.add(piece);
    // Whoever waits for it hears of a failure; the next one asks again.
    bytes.catch(() => {
      if (this.#pieces.get(start) === piece) this.#drop(start);
    });
    return piece;
  }

  #drop(start: number): void {
    const piece = this.#pieces.get(start);
    if (piece === undefined) return;
    this.#pieces.delete(start);
    this.#memory.pieces.delete(piece);
    piece.isDropped = true;
    recycle(piece);
  }
}

/** Gives the memory of a piece back if nobody will use it any more. */
function recycle({bytes, uses, isDropped}: Piece): void {
  if (isDropped && uses === 0) bytes.then(giveBack, () => undefined);
}
