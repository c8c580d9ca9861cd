/**
 * The heads that are sent on a connection of HTTP/2, and the compression of them.
 *
 * Header blocks of another connection can pass as they are, since their sender's table is then the receiver's (RFC 7541, section
 * 2.2). Heads of ours in between are encoded without a table, which changes none. With the first block that does not pass,
 * and would have changed the table, that ends: our encoder begins with the table that the receiver has. It begins again when the
 * sender has given up its table, and ours has, too.
 */

import type {Block, Blocks} from './blocks.ts';
import {type FrameReader, frameHeader, writeUint32} from './frames.ts';
import {Encoder, NO_TABLE} from './hpack/encoder.ts';
import type {Field} from './hpack/field.ts';
import type {HeadersExtras, Output} from './output.ts';
import {END_HEADERS, END_STREAM, HEADERS, MAX_31} from './protocol.ts';

/** The connection whose blocks pass. */
export interface HeadSource {
  readonly blocks: Blocks;
  readonly reader: FrameReader;
  /** Frames of a block before its last one, as they came. */
  readonly withheld: readonly Buffer[];
}

/** What a relay adds to a block that it passes on, and how it sends the block if it has to encode it anew. */
export interface PassedHead {
  /** Those of the block, and what is added. */
  readonly fields: readonly Field[];
  /** What is added, encoded without a table. */
  readonly more: Uint8Array | undefined;
  readonly block: Block;
  readonly isLast: boolean;
}

const withoutTable = new Encoder(NO_TABLE);

export class Heads {
  /** Hears when blocks don't pass as they are any more. */
  onTablesDiffer: (() => void) | undefined;
  readonly #output: Output;
  #encoder = new Encoder();
  /** Blocks of this connection pass as they are: the other side's table is that of who sends them. */
  #source: HeadSource | undefined;
  /** They did. */
  #formerSource: HeadSource | undefined;
  /** The least that the other side has said of its table since a block was passed on. */
  #tableLimit = MAX_31;

  constructor(output: Output) {
    this.#output = output;
  }

  /** Blocks pass as they are. */
  get arePassing(): boolean {
    return this.#source !== undefined;
  }

  /** Passes on the blocks of another connection as they are, from the first one, as long as that can be. */
  passBlocksOf(source: HeadSource): void {
    this.#source = source;
    this.#encoder = new Encoder(NO_TABLE);
  }

  /**
   * Passes on the block that its source has read last: as it came, as long as all of its blocks are passed on so; then anew,
   * with the extras that it had.
   */
  pass(streamId: number, head: PassedHead, extras?: HeadersExtras): void {
    const source = this.#source;
    if (source === undefined) {
      this.send(streamId, head, extras);
      return;
    }
    this.#tableLimit = MAX_31;
    for (const frame of source.withheld) {
      if (streamId !== source.blocks.streamId) writeUint32(frame, 5, streamId);
      this.#output.write(frame);
    }
    if (head.more === undefined) this.#output.pass(source.reader, streamId);
    else this.#output.passLonger(source.reader, streamId, head.more);
  }

  /** Passes on the frames of a block as they came. */
  passFrames(frames: readonly Buffer[]): void {
    this.#tableLimit = MAX_31;
    for (const frame of frames) this.#output.write(frame);
  }

  /** The block that its source has read last is not passed on, at least not here. */
  skip(): void {
    const source = this.#source;
    if (source?.blocks.hasChangedTable !== true) return;
    this.#source = undefined;
    this.#formerSource = source;
    this.#encoder = new Encoder(source.blocks.tableBefore);
    this.#encoder.limitTable(this.#tableLimit);
    this.onTablesDiffer?.();
  }

  /**
   * If the source has no table any more, the other side gives up its own with the next block, and they are the same again. Returns
   * whether that is so now.
   */
  #passBlocksAgain(): boolean {
    const source = this.#formerSource;
    if (source === undefined || source.blocks.maxTableBytes > 0) return false;
    this.#formerSource = undefined;
    this.#tableLimit = MAX_31;
    this.passBlocksOf(source);
    return true;
  }

  /** Fields in one frame, without a table; undefined where it would take more than that. */
  frameOf(streamId: number, fields: readonly Field[], isLast: boolean): Buffer | undefined {
    const isLimitOwed =
      this.#source === undefined ? this.#encoder.owesLimit : this.#unsaidLimit() !== undefined;
    if (isLimitOwed) return undefined;
    const block = withoutTable.encode(fields);
    const {length} = block;
    if (length > this.#output.maxFrameBytes) return undefined;
    const flags = END_HEADERS | (isLast ? END_STREAM : 0);
    return Buffer.concat([frameHeader({length, type: HEADERS, flags, streamId}), block]);
  }

  /** Sends fields; those of a block are encoded once for as long as that stays the same. */
  send(
    streamId: number,
    head: {readonly fields: readonly Field[]; readonly block?: Block; readonly isLast: boolean},
    extras?: HeadersExtras,
  ): void {
    const {fields, block, isLast} = head;
    const limit = this.#passBlocksAgain() ? 0 : this.#unsaidLimit();
    const encoder = this.#encoder;
    if (limit !== undefined) {
      this.#output.headers(streamId, encoder.encode(fields, limit), isLast, extras);
      return;
    }
    const {generation} = encoder;
    const known = block?.encoded;
    const isSame = known?.encoder === encoder && known.generation === generation;
    if (isSame && known.fields === fields) {
      this.#output.headers(streamId, known.bytes, isLast, extras);
      return;
    }
    const bytes = encoder.encode(fields);
    if (block !== undefined && encoder.generation === generation)
      block.encoded = {encoder, generation, fields, bytes: Buffer.from(bytes)};
    this.#output.headers(streamId, bytes, isLast, extras);
  }

  /** What the source's table has to become, which the next block must say, be it the source's or one of ours in between. */
  #unsaidLimit(): number | undefined {
    const source = this.#source;
    if (source === undefined || this.#tableLimit >= source.blocks.maxTableBytes) return undefined;
    return this.#tableLimit;
  }

  /** The other side has said how large a table it keeps. */
  limitTable(bytes: number): void {
    if (this.#source !== undefined) this.#tableLimit = Math.min(this.#tableLimit, bytes);
    else this.#encoder.limitTable(bytes);
  }
}
