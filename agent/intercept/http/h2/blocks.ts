/**
 * Header blocks of one direction of a connection: HEADERS or PUSH_PROMISE, and the CONTINUATION frames behind it (RFC 9113,
 * section 4.3). Sans-IO.
 *
 * Most connections say the same again and again, in the same bytes. A block that comes again is the same object, with
 * whatever was found out about it, and costs a look-up: for as long as the table of the compression is as it was, or, if
 * nothing in it refers to that table, for good. What the block puts into the table is put there again.
 *
 * Limits: what a block has in bytes, compressed and not, the frames it may come in (CVE-2024-27316), and how many
 * are remembered.
 */

import type {FrameReader} from './frames.ts';
import {readUint32} from './frames.ts';
import {Decoder, type FieldList, HpackError, type Table} from './hpack/decoder.ts';
import type {Field} from './hpack/field.ts';
import {
  COMPRESSION_ERROR,
  CONTINUATION,
  END_HEADERS,
  ENHANCE_YOUR_CALM,
  FRAME_SIZE_ERROR,
  HAS_PRIORITY,
  HEADERS,
  MAX_31,
  PADDED,
  PROTOCOL_ERROR,
  PUSH_PROMISE,
} from './protocol.ts';

/** What a head may have. nginx takes 32 KiB, Go 1 MiB; Node, and most others, less. */
export const HEAD_BYTES = 262_144;
/** At 16 KiB a frame, 256 KiB need 16. */
const MAX_CONTINUATIONS = 32;
/** Blocks that are remembered, and how long they may be. */
const MAX_KNOWN = 256;
const KNOWN_BYTES = 512;

/** What ends a connection, by the code of RFC 9113, section 7. */
export class Http2Error extends Error {
  readonly code: number;

  constructor(code: number) {
    super(`HTTP/2: error ${code}`);
    this.code = code;
  }
}

export interface EncodedBlock {
  readonly encoder: object;
  readonly generation: number;
  readonly fields: readonly Field[];
  readonly bytes: Buffer;
}

/** A block that was decoded, and room for what others find out about it. */
export class Block {
  readonly fields: readonly Field[];
  /** There are more fields than are kept. */
  readonly isTooLarge: boolean;
  /** Those that were put into the table. */
  readonly inserted: readonly Field[];
  /** By whoever reads requests, or passes it on (`head.ts`, `link.ts`). */
  found: unknown;
  /** What it was encoded to, by an encoder whose table was of a generation. */
  encoded: EncodedBlock | undefined;

  constructor({fields, isTooLarge, inserted}: FieldList) {
    this.fields = fields;
    this.isTooLarge = isTooLarge;
    this.inserted = inserted;
  }
}

export class Blocks {
  /** Of the block that was completed last: the flags of its HEADERS. */
  flags = 0;
  /** Its stream. */
  streamId = 0;
  /** How many bytes of padding it had; -1: it was not padded. */
  padding = -1;
  /** The stream that it depends on, with the bit "exclusive", and its weight; only with HAS_PRIORITY. */
  dependency = 0;
  weight = 0;
  /** The stream that a PUSH_PROMISE promises; 0: it was HEADERS. */
  promisedId = 0;

  readonly #decoder: Decoder;
  /** By their bytes: those that refer to the table, while it is of this generation, and those that do not. */
  readonly #known = new Map<string, Block>();
  #generation = 0;
  readonly #pure = new Map<string, Block>();
  #parts: Buffer[] = [];
  #partBytes = 0;
  #isOpen = false;

  /** `tableBytes`: how large a table whoever receives them may have allowed; by default what is so without a word. */
  constructor(tableBytes?: number) {
    this.#decoder = new Decoder(HEAD_BYTES, tableBytes);
  }

  /** The next frame must be a CONTINUATION. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** The block that was completed last has changed the table of the compression. */
  get hasChangedTable(): boolean {
    return this.#decoder.hasChanged;
  }

  /** What the table may have, as the sender has said last. */
  get maxTableBytes(): number {
    return this.#decoder.maxTableBytes;
  }

  /** The table as it was before that block. */
  get tableBefore(): Table {
    return this.#decoder.markedTable;
  }

  /** What is kept of a block that is not whole. */
  get keptBytes(): number {
    return this.#partBytes;
  }

  /** Takes a frame of HEADERS, PUSH_PROMISE or CONTINUATION; returns the block that it completes. Throws Http2Error. */
  take(frame: FrameReader): Block | undefined {
    const {bytes, flags} = frame;
    let {start, end} = frame;
    const isContinued = frame.type === CONTINUATION;
    if (isContinued !== this.#isOpen || (isContinued && frame.streamId !== this.streamId))
      throw new Http2Error(PROTOCOL_ERROR);
    if (!isContinued) {
      this.streamId = frame.streamId;
      this.flags = flags;
      this.padding = -1;
      if ((flags & PADDED) !== 0) {
        if (start === end) throw new Http2Error(FRAME_SIZE_ERROR);
        this.padding = bytes[start++] ?? 0;
        end -= this.padding;
      }
      if ((flags & HAS_PRIORITY) !== 0 && frame.type === HEADERS) {
        if (end - start < 5) throw new Http2Error(FRAME_SIZE_ERROR);
        this.dependency = readUint32(bytes, start);
        this.weight = bytes[start + 4] ?? 0;
        start += 5;
      }
      this.promisedId = 0;
      if (frame.type === PUSH_PROMISE) {
        if (end - start < 4) throw new Http2Error(FRAME_SIZE_ERROR);
        this.promisedId = readUint32(bytes, start) & MAX_31;
        start += 4;
      }
      if (end < start) throw new Http2Error(PROTOCOL_ERROR);
    }
    const isLast = (flags & END_HEADERS) !== 0;
    if (isLast && !isContinued) return this.#decode(bytes, start, end);
    this.#addPart(bytes.subarray(start, end));
    if (!isLast) return undefined;
    const whole = Buffer.concat(this.#parts);
    this.#parts = [];
    this.#partBytes = 0;
    this.#isOpen = false;
    return this.#decode(whole, 0, whole.length);
  }

  #addPart(part: Buffer): void {
    this.#isOpen = true;
    this.#partBytes += part.length;
    if (this.#partBytes > HEAD_BYTES || this.#parts.length > MAX_CONTINUATIONS)
      throw new Http2Error(ENHANCE_YOUR_CALM);
    this.#parts.push(Buffer.from(part));
  }

  #decode(bytes: Buffer, start: number, end: number): Block {
    const decoder = this.#decoder;
    decoder.mark();
    if (this.#generation !== decoder.generation) {
      this.#generation = decoder.generation;
      this.#known.clear();
    }
    const key = end - start <= KNOWN_BYTES ? bytes.toString('latin1', start, end) : undefined;
    if (key !== undefined) {
      const known = this.#known.get(key) ?? this.#pure.get(key);
      if (known !== undefined) {
        decoder.insert(known.inserted);
        return known;
      }
    }
    try {
      const found = decoder.decode(bytes, start, end);
      const block = new Block(found);
      if (key === undefined) return block;
      if (found.isPure) remember(this.#pure, key, block);
      else if (decoder.generation === this.#generation) remember(this.#known, key, block);
      return block;
    } catch (error) {
      if (error instanceof HpackError) throw new Http2Error(COMPRESSION_ERROR);
      throw error;
    }
  }
}

function remember(blocks: Map<string, Block>, key: string, block: Block): void {
  if (blocks.size >= MAX_KNOWN) blocks.clear();
  blocks.set(key, block);
}
