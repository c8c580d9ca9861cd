/**
 * Decodes blocks of header fields (RFC 7541) of one direction of a connection. Sans-IO.
 *
 * A block that is decoded changes the table, so each must be, in order, also one whose stream nobody wants. What it is
 * depends on the table only if it refers to it: `generation` says whether that is as it was. What does not refer to it has
 * the same fields each time it comes, and puts the same of them into the table (`insert`).
 *
 * A field of a table is the same object each time. What a block may come to has a limit: beyond it fields are still
 * put into the table, and no longer kept.
 */

import {type Field, type Indexing, STATIC_TABLE, sizeOf} from './field.ts';
import {decodeHuffman} from './huffman.ts';

/** A block that is none: the connection can't go on (RFC 9113, section 4.3: COMPRESSION_ERROR). */
export class HpackError extends Error {}

/** SETTINGS_HEADER_TABLE_SIZE, where nothing else was said. */
const TABLE_BYTES = 4096;

/** A block's fields. */
export interface FieldList {
  readonly fields: readonly Field[];
  /** They came to more than the limit, and are not all there. */
  readonly isTooLarge: boolean;
  /** They are the same whatever is in the table. */
  readonly isPure: boolean;
  /** Those that were put into the table. */
  readonly inserted: readonly Field[];
}

/** What a table has, its oldest field first, and what it may have, in bytes as they count (section 4.1). */
export interface Table {
  readonly fields: readonly Field[];
  readonly maxTableBytes: number;
}

/** Fields that are no part of the table any more are forgotten when they are as many, and half of all. */
const FORGOTTEN = 128;
const NONE: readonly Field[] = [];

/** Memory for strings while they are decoded; larger ones have their own. */
const scratch = Buffer.allocUnsafeSlow(16_384);

export class Decoder {
  readonly #maxListBytes: number;
  readonly #mostTableBytes: number;
  /** The table, its latest field last; those before `#first` are no part of it any more. */
  readonly #table: Field[] = [];
  #first = 0;
  #tableBytes = 0;
  #maxTableBytes = TABLE_BYTES;
  #generation = 0;
  /** How it was at `mark`: what of the fields was in the table, and what it might have. */
  readonly #marked = {first: 0, length: 0, maxTableBytes: TABLE_BYTES, generation: 0};
  #isPure = true;
  #inserted: Field[] | undefined;
  #bytes: Uint8Array = scratch;
  #at = 0;
  #end = 0;

  /** `mostTableBytes`: the largest table that the other side was told it may have. */
  constructor(maxListBytes: number, mostTableBytes = TABLE_BYTES) {
    this.#maxListBytes = maxListBytes;
    this.#mostTableBytes = mostTableBytes;
  }

  /** Changes whenever the table does. */
  get generation(): number {
    return this.#generation;
  }

  /** What the table has now: its bytes, as they count. */
  get tableBytes(): number {
    return this.#tableBytes;
  }

  /** What the table may have now. */
  get maxTableBytes(): number {
    return this.#maxTableBytes;
  }

  /** Remembers the table as it is now, before a block. */
  mark(): void {
    this.#forget();
    const marked = this.#marked;
    marked.first = this.#first;
    marked.length = this.#table.length;
    marked.maxTableBytes = this.#maxTableBytes;
    marked.generation = this.#generation;
  }

  /** The table is not as it was at `mark`. */
  get hasChanged(): boolean {
    return this.#generation !== this.#marked.generation;
  }

  /** The table as it was at `mark`. */
  get markedTable(): Table {
    const {first, length, maxTableBytes} = this.#marked;
    return {fields: this.#table.slice(first, length), maxTableBytes};
  }

  /** Decodes a block. Throws HpackError. */
  decode(bytes: Uint8Array, start: number, end: number): FieldList {
    this.#bytes = bytes;
    this.#at = start;
    this.#end = end;
    const fields: Field[] = [];
    let size = 0;
    let isFirst = true;
    this.#isPure = true;
    this.#inserted = undefined;
    while (this.#at < end) {
      const byte = bytes[this.#at] ?? 0;
      if ((byte & 0xe0) === 0x20) {
        // Section 4.2: only at the beginning.
        if (!isFirst) throw new HpackError('a change of the table’s size behind a field');
        this.#isPure = false;
        this.#resize(this.#readInteger(5));
        continue;
      }
      isFirst = false;
      const field = this.#readField(byte);
      size += sizeOf(field);
      if (size <= this.#maxListBytes) fields.push(field);
    }
    const isTooLarge = size > this.#maxListBytes;
    return {fields, isTooLarge, isPure: this.#isPure, inserted: this.#inserted ?? NONE};
  }

  /** Puts fields into the table, as a block did that is known. */
  insert(fields: readonly Field[]): void {
    for (let at = 0; at < fields.length; at++) {
      const field = fields[at];
      if (field !== undefined) this.#insert(field);
    }
  }

  #readField(byte: number): Field {
    if ((byte & 0x80) !== 0) return this.#lookUp(this.#readInteger(7));
    if ((byte & 0x40) !== 0) {
      const field = this.#readLiteral(6, 'indexed');
      this.#inserted ??= [];
      this.#inserted.push(field);
      this.#insert(field);
      return field;
    }
    return this.#readLiteral(4, (byte & 0x10) === 0 ? 'plain' : 'never');
  }

  #readLiteral(prefixBits: number, indexing: Indexing): Field {
    const index = this.#readInteger(prefixBits);
    const name = index === 0 ? this.#readString() : this.#lookUp(index).name;
    return {name, value: this.#readString(), indexing};
  }

  #lookUp(index: number): Field {
    const found = index <= STATIC_TABLE.length ? STATIC_TABLE[index - 1] : this.#lookUpKept(index);
    if (found === undefined) throw new HpackError(`no field has the index ${index}`);
    return found;
  }

  #lookUpKept(index: number): Field | undefined {
    this.#isPure = false;
    const at = this.#table.length + STATIC_TABLE.length - index;
    return at < this.#first ? undefined : this.#table[at];
  }

  /** Section 4.4. */
  #insert(field: Field): void {
    const bytes = sizeOf(field);
    // Too large for the table, it would empty it.
    if (bytes > this.#maxTableBytes && this.#tableBytes === 0) return;
    this.#generation++;
    this.#table.push(field);
    this.#tableBytes += bytes;
    this.#evict();
  }

  #resize(maxTableBytes: number): void {
    if (maxTableBytes > this.#mostTableBytes)
      throw new HpackError('the table is larger than we have said');
    if (maxTableBytes === this.#maxTableBytes) return;
    this.#generation++;
    this.#maxTableBytes = maxTableBytes;
    this.#evict();
  }

  #evict(): void {
    while (this.#tableBytes > this.#maxTableBytes) {
      const field = this.#table[this.#first++];
      if (field === undefined) break;
      this.#tableBytes -= sizeOf(field);
    }
  }

  /** Fields that are no part of the table. */
  #forget(): void {
    if (this.#first < FORGOTTEN || this.#first * 2 < this.#table.length) return;
    this.#table.splice(0, this.#first);
    this.#first = 0;
  }

  /** Section 5.1. */
  #readInteger(prefixBits: number): number {
    const mask = (1 << prefixBits) - 1;
    let value = (this.#bytes[this.#at++] ?? 0) & mask;
    if (value < mask) return value;
    for (let shift = 0; shift <= 21; shift += 7) {
      if (this.#at >= this.#end) throw new HpackError('an integer has no end');
      const byte = this.#bytes[this.#at++] ?? 0;
      value += (byte & 0x7f) << shift;
      if ((byte & 0x80) === 0) return value;
    }
    throw new HpackError('an integer is too large');
  }

  /** Section 5.2. */
  #readString(): string {
    if (this.#at >= this.#end) throw new HpackError('a string is missing');
    const isCoded = ((this.#bytes[this.#at] ?? 0) & 0x80) !== 0;
    const length = this.#readInteger(7);
    const start = this.#at;
    const end = start + length;
    if (end > this.#end) throw new HpackError('a string has no end');
    this.#at = end;
    if (!isCoded) return latin1(this.#bytes, start, end);
    // The shortest codes have five bits.
    const room = Math.ceil((length * 8) / 5);
    const into = room <= scratch.length ? scratch : Buffer.allocUnsafe(room);
    const count = decodeHuffman(this.#bytes, start, end, into);
    if (count < 0) throw new HpackError('a string is not of the Huffman code');
    return into.toString('latin1', 0, count);
  }
}

function latin1(bytes: Uint8Array, start: number, end: number): string {
  const buffer =
    bytes instanceof Buffer ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  return buffer.toString('latin1', start, end);
}
