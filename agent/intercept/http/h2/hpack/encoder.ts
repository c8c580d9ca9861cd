/**
 * Encodes blocks of header fields (RFC 7541) of one direction of a connection. Sans-IO.
 *
 * What the fields' own sender has put into tables is put into ours, and nothing else is: he knows what repeats, and what
 * must not be compared with what an attacker sends. Fields that fill most of the table are not worth it.
 *
 * `generation` says whether the table is as it was: what a block was encoded to, without a change of the table, it is
 * encoded to again while the generation is the same.
 */

import type {Table} from './decoder.ts';
import {type Field, STATIC_TABLE, sizeOf} from './field.ts';
import {encodeHuffman, huffmanLength} from './huffman.ts';

/** What we keep, whatever more the other side would. */
const TABLE_BYTES = 4096;
/** Whoever encodes without a table changes none: it may do so between blocks of somebody else's. */
export const NO_TABLE: Table = {fields: [], maxTableBytes: 0};
/** A field is kept if it leaves a quarter of the table to others. */
const WORTH_SHARE = 0.75;

/** By name and value, and by name alone, the index in the static table. */
const STATIC_FIELDS = new Map<string, Map<string, number>>();
const STATIC_NAMES = new Map<string, number>();
for (const [at, {name, value}] of STATIC_TABLE.entries()) {
  if (!STATIC_NAMES.has(name)) STATIC_NAMES.set(name, at + 1);
  const values = STATIC_FIELDS.get(name) ?? new Map<string, number>();
  values.set(value, at + 1);
  STATIC_FIELDS.set(name, values);
}

/** A field of the table, by the number of fields that were put there before it. */
interface Entry {
  readonly field: Field;
  readonly number: number;
}

export class Encoder {
  /** The table, its oldest field first. */
  #table: Entry[] = [];
  #byName = new Map<string, Map<string, number>>();
  #tableBytes = 0;
  #maxTableBytes: number;
  /** Fields that were ever put into the table. */
  #inserted = 0;
  #generation = 0;
  #hasResized = false;
  #into: Buffer = Buffer.allocUnsafe(1024);
  #at = 0;

  /** `table`: what the other side has of blocks that were encoded before; by default nothing, at the beginning. */
  constructor({fields, maxTableBytes}: Table = {fields: [], maxTableBytes: TABLE_BYTES}) {
    this.#maxTableBytes = maxTableBytes;
    for (const field of fields) this.#insert(field);
  }

  /** Changes whenever the table does. */
  get generation(): number {
    return this.#generation;
  }

  /** The next block says that the table has become smaller. */
  get owesLimit(): boolean {
    return this.#hasResized;
  }

  /**
   * The other side has said how large a table it keeps. Ours becomes smaller with it, and never larger again: when it may,
   * is known only when the other side knows that we know (section 4.2).
   */
  limitTable(bytes: number): void {
    if (bytes >= this.#maxTableBytes) return;
    this.#maxTableBytes = bytes;
    this.#hasResized = true;
    this.#generation++;
    this.#evict();
  }

  /**
   * Encodes a block; what is returned is used again with the next one. `limit`: what somebody else's table has to become, and
   * nobody has said (section 4.2).
   */
  encode(fields: readonly Field[], limit?: number): Buffer {
    this.#at = 0;
    if (limit !== undefined) this.#writeLimit(limit);
    if (this.#hasResized) {
      this.#hasResized = false;
      this.#generation++;
      this.#writeLimit(this.#maxTableBytes);
    }
    for (const field of fields) this.#write(field);
    return this.#into.subarray(0, this.#at);
  }

  #writeLimit(bytes: number): void {
    this.#room(8);
    this.#writeInteger(0x20, 5, bytes);
  }

  #write(field: Field): void {
    const {name, value, indexing} = field;
    this.#room(name.length + value.length + 24);
    if (indexing !== 'never') {
      const index = this.#find(name, value);
      if (index > 0) {
        this.#writeInteger(0x80, 7, index);
        return;
      }
    }
    const isKept = indexing === 'indexed' && sizeOf(field) <= this.#maxTableBytes * WORTH_SHARE;
    const nameIndex = this.#findName(name);
    if (isKept) this.#writeInteger(0x40, 6, nameIndex);
    else this.#writeInteger(indexing === 'never' ? 0x10 : 0, 4, nameIndex);
    if (nameIndex === 0) this.#writeString(name);
    this.#writeString(value);
    if (isKept) this.#insert(field);
  }

  #find(name: string, value: string): number {
    const number = this.#byName.get(name)?.get(value);
    if (number !== undefined) return this.#indexOf(number);
    return STATIC_FIELDS.get(name)?.get(value) ?? 0;
  }

  #findName(name: string): number {
    const index = STATIC_NAMES.get(name);
    if (index !== undefined) return index;
    const values = this.#byName.get(name);
    if (values === undefined) return 0;
    for (const number of values.values()) return this.#indexOf(number);
    return 0;
  }

  #indexOf(number: number): number {
    return STATIC_TABLE.length + this.#inserted - number;
  }

  #insert(field: Field): void {
    const {name, value} = field;
    this.#generation++;
    this.#tableBytes += sizeOf(field);
    const number = this.#inserted++;
    this.#table.push({field, number});
    let values = this.#byName.get(name);
    if (values === undefined) {
      values = new Map();
      this.#byName.set(name, values);
    }
    values.set(value, number);
    this.#evict();
  }

  #evict(): void {
    let count = 0;
    while (this.#tableBytes > this.#maxTableBytes) {
      const entry = this.#table[count++];
      if (entry === undefined) break;
      const {field, number} = entry;
      this.#tableBytes -= sizeOf(field);
      const values = this.#byName.get(field.name);
      if (values?.get(field.value) === number) values.delete(field.value);
      if (values?.size === 0) this.#byName.delete(field.name);
    }
    if (count > 0) this.#table.splice(0, count);
  }

  /** Section 5.1; `first` has what is before the integer in its first byte. */
  #writeInteger(first: number, prefixBits: number, value: number): void {
    const mask = (1 << prefixBits) - 1;
    const into = this.#into;
    if (value < mask) {
      into[this.#at++] = first | value;
      return;
    }
    into[this.#at++] = first | mask;
    let rest = value - mask;
    for (; rest >= 0x80; rest >>>= 7) into[this.#at++] = (rest & 0x7f) | 0x80;
    into[this.#at++] = rest;
  }

  /** Section 5.2; there is room for it. */
  #writeString(text: string): void {
    const coded = huffmanLength(text);
    if (coded < text.length) {
      this.#writeInteger(0x80, 7, coded);
      this.#at = encodeHuffman(text, this.#into, this.#at);
    } else {
      this.#writeInteger(0, 7, text.length);
      this.#at += this.#into.write(text, this.#at, 'latin1');
    }
  }

  #room(bytes: number): void {
    if (this.#at + bytes <= this.#into.length) return;
    const larger = Buffer.allocUnsafe(Math.max(this.#into.length * 2, this.#at + bytes));
    this.#into.copy(larger, 0, 0, this.#at);
    this.#into = larger;
  }
}
