/**
 * Reads what is around a small piece from anywhere in a file, since whoever wanted that (a database, an index) often comes back
 * to what is near.
 *
 * Theory of operation. Over a long way some 64 KiB cost hardly more than the 4 KiB that are wanted: the way does, not the
 * bytes. How much more is measured, for it depends on the link and on what else is on it: pieces that were read alone are compared
 * with blocks. A block that costs little more (LITTLE) may be twice as long the next time, one that costs more than what it
 * saves, which is as many pieces as were found in blocks of late, half as long; when the shortest costs too much, or a piece
 * may take less than QUICK_MS, pieces are read alone, and a block is tried now and then. In a file where TRIES_MAX blocks in a row were of no use, none is read for a while either.
 *
 * A block is believed for a second from when it was asked for, and then for as long as the file's version (its size, and when it was
 * written to), no older than a second, is still the one that it was when the block was asked for. The kernel believes its
 * pages for the same reason, and asks for the version when it reads. What the program writes makes all blocks of the file void.
 */

import {giveBack, type Reading, readingOf} from './read-buffers.ts';

const BLOCK_MIN = 16_384;
const BLOCK_MAX = 131_072;
const BLOCK_FIRST = 65_536;
/** Of all files together: 32 MiB, since the memory of a block is one of BLOCK_MAX. The oldest goes. */
const BLOCKS_MAX = 256;
/** The longest piece. */
const PIECE_MAX = 16_384;
const QUICK_MS = 0.5;
/** What a block may cost of what a piece costs if it is of no use, by so many SAMPLES of each. */
const LITTLE = 1.05;
const SAMPLES = 8;
/** Over how many blocks it is averaged how many pieces are found in one. */
const USE_SAMPLES = 32;
/** Pieces that are read alone before a block is tried; after it was in vain, twice as many, and so on. */
const REST_MIN = 4;
const REST_MAX = 1024;
/** Every so many pieces one is read alone, to know what that costs now. */
const ALONE_EVERY = 32;
const TRIES_MAX = 64;
const BELIEVED_MS = 1000;

/** Asks for bytes of the file; fewer than wanted are its end. */
type Read = (offset: number, length: number) => Promise<Uint8Array>;

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
  #turn = 0;
  /** Pieces that are found in a block, on average, and since the last one was asked for. */
  #use = 0;
  #found = 0;

  /** How long the next block is to be; 0: the piece is to be read alone. */
  next(): number {
    this.#turn = (this.#turn + 1) % ALONE_EVERY;
    if (this.#rest > 0) this.#rest--;
    const isAlone = this.#rest > 0 || this.#turn === 0 || this.#alone.least < QUICK_MS;
    return isAlone ? 0 : this.#blockBytes;
  }

  /** Notes that a block is asked for. */
  noteAsked(): void {
    this.asked++;
    this.#use += (this.#found - this.#use) / USE_SAMPLES;
    this.#found = 0;
  }

  /** Notes that a piece is in a block. */
  noteHit(): void {
    this.hits++;
    this.#found++;
  }

  noteAlone(ms: number): void {
    this.#alone.add(ms);
  }

  /** Notes what a block of a length took. */
  noteBlock(length: number, ms: number): void {
    if (length !== this.#blockBytes) return; // of a length that is given up
    this.#block.add(ms);
    const ratio = this.#block.median / this.#alone.median;
    const worth = LITTLE + this.#use;
    if (this.#block.count < SAMPLES && ratio < 2 * worth) return;
    if (ratio <= LITTLE) {
      this.#nextRest = REST_MIN;
      this.#resize(Math.min(BLOCK_MAX, 2 * length));
    } else if (ratio > worth && length > BLOCK_MIN) this.#resize(length / 2);
    else if (ratio > worth) {
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
  readonly #read: Read;
  readonly #memory: ReadAroundMemory;
  readonly #now: () => number;
  readonly #version: () => Version;
  /** The block of each BLOCK_MIN bytes. */
  readonly #blocks = new Map<number, Block>();
  /** Blocks since one was of use, and pieces until the next one. */
  #tries = 0;
  #rest = 0;

  constructor(
    read: Read,
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
    this.#memory.noteHit();
    return this.#wholePart(block, offset, length);
  }

  /** A piece of a block that was read before; undefined if that ends before: the file may have grown since. */
  async #wholePart(block: Block, offset: number, length: number): Promise<Reading | undefined> {
    const found = await part(block, offset, length);
    if (found.parts[0]?.length === length) return found;
    found.release();
    return undefined;
  }

  /** Reads a piece from somewhere, with what is around it if that is worth it. */
  async read(offset: number, length: number): Promise<Reading> {
    const start = this.#now();
    const block = length <= PIECE_MAX ? this.#around(offset, length) : undefined;
    if (block !== undefined) {
      const found = await part(block, offset, length);
      this.#memory.noteBlock(block.length, this.#now() - start);
      return found;
    }
    const bytes = await this.#read(offset, length);
    if (length <= PIECE_MAX) this.#memory.noteAlone(this.#now() - start);
    return readingOf(bytes);
  }

  /** Forgets all: the file was written to, or is closed. */
  clear(): void {
    for (const block of this.#blocks.values()) this.#drop(block);
  }

  #around(offset: number, length: number): Block | undefined {
    if (this.#rest > 0) {
      this.#rest--;
      return undefined;
    }
    const bytes = this.#memory.next();
    const start = bytes === 0 ? 0 : offset - (offset % bytes);
    if (bytes === 0 || offset + length > start + bytes) return undefined;
    this.#tries++;
    if (this.#tries === TRIES_MAX) {
      this.#tries = 0;
      this.#rest = REST_MAX;
    }
    return this.#ask(start, bytes);
  }

  #ask(start: number, length: number): Block {
    const memory = this.#memory;
    const {version} = this.#version();
    const block: Block = {
      ...{owner: this, start, length, version, askedAt: this.#now()},
      bytes: this.#read(start, length),
      uses: 0,
      isDropped: false,
    };
    memory.noteAsked();
    for (let at = start; at < start + length; at += BLOCK_MIN) {
      const other = this.#blocks.get(at / BLOCK_MIN);
      if (other !== undefined) this.#drop(other);
      this.#blocks.set(at / BLOCK_MIN, block);
    }
    memory.blocks.add(block);
    const [oldest] = memory.blocks;
    if (memory.blocks.size > BLOCKS_MAX && oldest !== undefined) oldest.owner.#drop(oldest);
    // Whoever waits for it hears of a failure; the next one asks again.
    block.bytes.catch(() => this.#drop(block));
    return block;
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
