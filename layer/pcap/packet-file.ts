/**
 * A file that grows by blocks, written in the background.
 *
 * Theory of operation. Whoever adds blocks must not wait for the disk. Blocks are gathered in chunks of
 * 1 MiB; a chunk is written when the one before it is, full or not, so that the file is never more than a
 * moment behind and ends with a whole block at any time. While the disk is slow chunks fill up; when all of
 * them have, blocks are left out and counted.
 */

import {constants} from 'node:fs';
import {type FileHandle, open} from 'node:fs/promises';
import {setImmediate} from 'node:timers/promises';
import {type Octets, octets} from '../../netstack/wire/octets.ts';
import {MirrordError} from '../errors.ts';

const chunkSize = 1024 * 1024;
/** 16 MiB: what comes in a seventh of a second at 1 Gbit/s, and little memory. */
const chunkLimit = 16;

/** Where a block may be written. */
export interface Room {
  readonly octets: Octets;
  readonly at: number;
}

interface Chunk {
  octets: Octets;
  filled: number;
  blocks: number;
}

function unwritable(path: string, reason: string, cause?: unknown): MirrordError {
  return new MirrordError(
    'MIRRORD_PCAP_UNWRITABLE',
    `can't write the packets to ${path}: ${reason}`,
    {
      hint: 'name a file in a directory of your own; one that is there is overwritten',
      cause,
    },
  );
}

export class PacketFile implements AsyncDisposable {
  readonly path: string;
  /** `left`: blocks that are not in the file, for want of room here or on the disk. */
  readonly counters = {bytes: 0, left: 0};
  readonly #handle: FileHandle;
  readonly #full: Chunk[] = [];
  readonly #free: Chunk[] = [];
  #made = 0;
  #current: Chunk;
  #writing: Promise<void> | undefined;
  #failure: unknown;

  /** Opens the file, for its owner only, and empties it. Throws MIRRORD_PCAP_UNWRITABLE. */
  static async open(path: string): Promise<PacketFile> {
    const {O_WRONLY, O_CREAT, O_NONBLOCK, O_NOCTTY} = constants;
    let handle: FileHandle;
    try {
      // What is no file must neither be waited for (a FIFO) nor emptied.
      handle = await open(path, O_WRONLY | O_CREAT | O_NONBLOCK | O_NOCTTY, 0o600);
    } catch (error) {
      throw unwritable(path, (error as NodeJS.ErrnoException).code ?? String(error), error);
    }
    try {
      if (!(await handle.stat()).isFile()) throw unwritable(path, 'it is no regular file');
      await handle.truncate();
      await handle.chmod(0o600);
      return new PacketFile(path, handle);
    } catch (error) {
      await handle.close();
      if (error instanceof MirrordError) throw error;
      throw unwritable(path, (error as NodeJS.ErrnoException).code ?? String(error), error);
    }
  }

  private constructor(path: string, handle: FileHandle) {
    this.path = path;
    this.#handle = handle;
    this.#current = this.#make();
  }

  /** What kept the file from being written to its end, if anything did. */
  get failure(): unknown {
    return this.#failure;
  }

  /**
   * Room for a block of at most `length` bytes (a chunk, at most); undefined when there is none, which is
   * counted. What was written there counts by `commit`, which must come before the next call.
   */
  reserve(length: number): Room | undefined {
    const isFull = this.#current.filled + length > chunkSize && !this.#turn();
    if (isFull || this.#failure !== undefined) {
      this.counters.left++;
      return undefined;
    }
    return {octets: this.#current.octets, at: this.#current.filled};
  }

  /** Adds the first `length` bytes of what was reserved. */
  commit(length: number): void {
    this.#current.filled += length;
    this.#current.blocks++;
    this.#writing ??= this.#write();
  }

  /** Adds a block; without room it is left out. */
  add(block: Uint8Array): void {
    const room = this.reserve(block.length);
    if (room === undefined) return;
    room.octets.bytes.set(block, room.at);
    this.commit(block.length);
  }

  /** Writes what is left, and closes the file. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writing;
    await this.#handle.close();
  }

  #make(): Chunk {
    this.#made++;
    return {octets: octets(new Uint8Array(chunkSize)), filled: 0, blocks: 0};
  }

  /** Puts the current chunk aside and takes another. Returns false if there is none. */
  #turn(): boolean {
    const next = this.#free.pop() ?? (this.#made < chunkLimit ? this.#make() : undefined);
    if (next === undefined) return false;
    this.#full.push(this.#current);
    this.#current = next;
    return true;
  }

  async #write(): Promise<void> {
    let chunk: Chunk | undefined;
    try {
      while (this.#full.length > 0 || this.#current.filled > 0) {
        await setImmediate(); // the rest of the batch comes first
        if (this.#full.length === 0) this.#turn();
        chunk = this.#full.shift();
        if (chunk === undefined) continue;
        await this.#writeChunk(chunk);
        chunk.filled = 0;
        chunk.blocks = 0;
        this.#free.push(chunk);
      }
    } catch (error) {
      await this.#fail(error, chunk);
    } finally {
      this.#writing = undefined;
    }
  }

  async #writeChunk({octets: {bytes}, filled}: Chunk): Promise<void> {
    for (let at = 0; at < filled; ) {
      const {bytesWritten} = await this.#handle.write(
        bytes,
        at,
        filled - at,
        this.counters.bytes + at,
      );
      at += bytesWritten;
    }
    this.counters.bytes += filled;
  }

  /** After ENOSPC, EDQUOT or EIO all that comes is left out. The file ends with a whole block. */
  async #fail(error: unknown, chunk: Chunk | undefined): Promise<void> {
    this.#failure = error;
    for (const lost of [chunk, ...this.#full.splice(0), this.#current]) {
      this.counters.left += lost?.blocks ?? 0;
    }
    this.#current.filled = 0;
    this.#current.blocks = 0;
    await this.#handle.truncate(this.counters.bytes).catch(() => undefined); // EIO again
  }
}
