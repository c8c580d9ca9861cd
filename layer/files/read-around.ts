/**
 * Reads what is around a small piece from anywhere in a file, since whoever wanted that (a database, an index) often comes back
 * to what is near.
 *
 * Theory of operation. A piece is read alone, and a block around it a little later (`isLater`: else the piece would wait for it on its way
 * back), which nobody waits for: it comes while the next piece is on its way. That costs nobody anything as long as it is there before the
 * answer to that one could be, after twice the time that a piece takes. How long both take is measured, for it depends on the link and on what else is on it. A
 * block that comes soon (SOON) may be twice as long the next time, one that comes late (LATE) half as long; when the shortest is late, none is
 * read for a while; neither where a piece may take less than QUICK_MS. In a file where TRIES_MAX blocks in a row were of
 * no use, none is read for a while either.
 *
 * A block is believed for a second from when it was asked for, and then for as long as the file's version (its size, and when it was
 * written to), no older than a second, is still the one that it was when the block was asked for. The kernel believes its
 * pages for the same reason, and asks for the version when it reads. What the program writes makes all blocks of the file void.
 */

import {giveBack, type Reading, type ReadPiece, readingOf} from './read-buffers.ts';

const BLOCK_MIN = 16_384;
const BLOCK_MAX = 131_072;
const BLOCK_FIRST = 65_536;
/** Of all files together: 128 MiB, since the memory of a block is one of BLOCK_MAX. The oldest goes. */
const BLOCKS_MAX = 1024;
/** The longest piece. */
const PIECE_MAX = 16_384;
const QUICK_MS = 1;
/** How many times as long as a piece a block takes that may be longer, and that should be shorter. */
const SOON = 1.4;
const LATE = 1.8;
/** Of each so many are looked at. */
const SAMPLES = 8;
/** Pieces that are read alone before a block is tried; after it was in vain, twice as many, and so on. */
const REST_MIN = 4;
const REST_MAX = 1024;
const TRIES_MAX = 64;
const BELIEVED_MS = 1000;

/** What is known of a file's version, and since when. */
export interface Version {
  readonly version: string;
  readonly checkedAt: number;
}

interface Block {
  readonly owner: ReadAround;
  readonly start: number;
  readonly length: number;
  readonly version: string;
  readonly askedAt: number;
  readonly bytes: Promise<Uint8Array>;
  /** Who reads it now; its memory is theirs. */
  uses: number;
  isDropped: boolean;
}

/** What reading takes, by the last SAMPLES, ms. Not the average: what was held up once says nothing about the link. */
class Cost {
  count = 0;
  readonly #last: number[] = [];

  add(ms: number): void {
    this.#last[this.count % SAMPLES] = ms;
    this.count++;
  }

  get least(): number {
    return this.count === 0 ? 0 : Math.min(...this.#last);
  }

  get median(): number {
    const sorted = this.#last.toSorted((one, other) => one - other);
    return sorted[(sorted.length - 1) >> 1] ?? 0;
  }
}

/** What all files have, and what blocks cost on this link. */
export class ReadAroundMemory {
  readonly blocks = new Set<Block>();
  /** Blocks that were asked for, and pieces that were in one. */
  asked = 0;
  hits = 0;
  readonly #alone = new Cost();
  #block = new Cost();
  #blockBytes = BLOCK_FIRST;
  /** Pieces that are read alone until a block is tried. */
  #rest = REST_MIN;
  #nextRest = REST_MIN;

  /** How long the block around the next piece is to be; 0: none. */
  next(): number {
    if (this.#rest > 0) this.#rest--;
    return this.#rest > 0 || this.#alone.least < QUICK_MS ? 0 : this.#blockBytes;
  }

  noteAlone(ms: number): void {
    this.#alone.add(ms);
  }

  /** Notes what a block of a length took. */
  noteBlock(length: number, ms: number): void {
    if (length !== this.#blockBytes) return; // of a length that is given up
    this.#block.add(ms);
    const ratio = this.#block.median / this.#alone.median;
    if (this.#block.count < SAMPLES && ratio < 2 * LATE) return;
    if (ratio <= SOON) {
      this.#nextRest = REST_MIN;
      this.#resize(Math.min(BLOCK_MAX, 2 * length));
    } else if (ratio > LATE && length > BLOCK_MIN) this.#resize(length / 2);
    else if (ratio > LATE) {
      this.#rest = this.#nextRest;
      this.#nextRest = Math.min(REST_MAX, 2 * this.#nextRest);
      this.#block = new Cost();
    }
  }

  #resize(length: number): void {
    if (length === this.#blockBytes) return;
    this.#blockBytes = length;
    this.#block = new Cost();
  }
}

/** The blocks of one open file. */
export class ReadAround {
  readonly #read: ReadPiece;
  readonly #memory: ReadAroundMemory;
  readonly #now: () => number;
  readonly #version: () => Version;
  /** The block of each BLOCK_MIN bytes. */
  readonly #blocks = new Map<number, Block>();
  /** Blocks since one was of use, and pieces until the next one. */
  #tries = 0;
  #rest = 0;

  constructor(
    read: ReadPiece,
    options: {
      readonly memory: ReadAroundMemory;
      readonly now: () => number;
      readonly version: () => Version;
    },
  ) {
    this.#read = read;
    this.#memory = options.memory;
    this.#now = options.now;
    this.#version = options.version;
  }

  /** A piece that is in a block; undefined: it has to be read. */
  find(offset: number, length: number): Promise<Reading | undefined> | undefined {
    if (this.#blocks.size === 0) return undefined;
    const block = this.#blocks.get(Math.floor(offset / BLOCK_MIN));
    if (block === undefined || offset + length > block.start + block.length) return undefined;
    if (!this.#isGood(block)) {
      this.#drop(block);
      return undefined;
    }
    this.#tries = 0;
    this.#memory.hits++;
    return this.#wholePart(block, offset, length);
  }

  /** A piece of a block that was read before; undefined if that ends before: the file may have grown since. */
  async #wholePart(block: Block, offset: number, length: number): Promise<Reading | undefined> {
    const found = await part(block, offset, length);
    if (found.parts[0]?.length === length) return found;
    found.release();
    return undefined;
  }

  /** Reads a piece from somewhere, and then what is around it if that is worth it. */
  async read(offset: number, length: number): Promise<Reading> {
    const start = this.#now();
    const piece = this.#read(offset, length);
    if (length > PIECE_MAX) return readingOf(await piece);
    this.#readAround(offset, length);
    const reading = readingOf(await piece);
    this.#memory.noteAlone(this.#now() - start);
    return reading;
  }

  /** Forgets all: the file was written to, or is closed. */
  clear(): void {
    for (const block of this.#blocks.values()) this.#drop(block);
  }

  #readAround(offset: number, length: number): void {
    if (this.#rest > 0) {
      this.#rest--;
      return;
    }
    const bytes = this.#memory.next();
    const start = bytes === 0 ? 0 : offset - (offset % bytes);
    if (bytes === 0 || offset + length > start + bytes) return;
    this.#tries++;
    if (this.#tries === TRIES_MAX) {
      this.#tries = 0;
      this.#rest = REST_MAX;
    }
    this.#ask(start, bytes);
  }

  #ask(start: number, length: number): void {
    const memory = this.#memory;
    const {version} = this.#version();
    const askedAt = this.#now();
    const block: Block = {
      ...{owner: this, start, length, version, askedAt},
      bytes: this.#read(start, length, true),
      uses: 0,
      isDropped: false,
    };
    memory.asked++;
    for (let at = start; at < start + length; at += BLOCK_MIN) {
      const other = this.#blocks.get(at / BLOCK_MIN);
      if (other !== undefined) this.#drop(other);
      this.#blocks.set(at / BLOCK_MIN, block);
    }
    memory.blocks.add(block);
    const [oldest] = memory.blocks;
    if (memory.blocks.size > BLOCKS_MAX && oldest !== undefined) oldest.owner.#drop(oldest);
    block.bytes.then(
      () => memory.noteBlock(length, this.#now() - askedAt),
      // Whoever waits for it hears of a failure; the next one asks again.
      () => this.#drop(block),
    );
  }

  #isGood({version, askedAt}: Block): boolean {
    const now = this.#now();
    if (now - askedAt < BELIEVED_MS) return true;
    const known = this.#version();
    return known.version === version && now - known.checkedAt < BELIEVED_MS;
  }

  #drop(block: Block): void {
    if (block.isDropped) return;
    block.isDropped = true;
    const {start, length} = block;
    for (let at = start; at < start + length; at += BLOCK_MIN) {
      if (this.#blocks.get(at / BLOCK_MIN) === block) this.#blocks.delete(at / BLOCK_MIN);
    }
    this.#memory.blocks.delete(block);
    recycle(block);
  }
}

/** A piece of a block, or what there is of it. */
async function part(block: Block, offset: number, length: number): Promise<Reading> {
  block.uses++;
  const release = (): void => {
    block.uses--;
    recycle(block);
  };
  try {
    const all = await block.bytes;
    const at = offset - block.start;
    return {parts: [all.subarray(at, at + length)], release};
  } catch (error) {
    release();
    throw error;
  }
}

/** Gives the memory of a block back if nobody will use it any more. */
function recycle({bytes, uses, isDropped}: Block): void {
  if (isDropped && uses === 0) bytes.then(giveBack, () => undefined);
}
