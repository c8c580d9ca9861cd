/**
 * Writes to the pod's files without waiting for each to arrive.
 *
 * Theory of operation. What is written goes out at once, in order, and the program goes on; so does whatever it asks
 * afterwards, so that it reads what it wrote and sees the size. Only what is under way is bounded: beyond FILE_BYTES of one
 * file, or TOTAL_BYTES of all, a write waits as if it were slow. A failure (ENOSPC, EDQUOT, a tunnel that broke for
 * good) is told by the next write, by fsync(2) or by close(2), whichever comes first, and once, as NFS does. close(2)
 * waits for all: what has been closed without an error is there for others.
 *
 * Who opened the file to be sure (O_SYNC, O_DSYNC, O_DIRECT) waits for each write.
 *
 * Small writes become one request, of GATHER_BYTES at most, those in order one piece of it. It goes out as soon as
 * anything else is asked of the pod, or after a millisecond (FileClient). Only one file gathers at a time. The first write of a
 * file goes at once, since most small files have no second, and who closes them waits.
 */

import {FileRequest} from '../../tunnel/files.ts';
import {type FileClient, FileError} from './file-client.ts';

/** 3.2 Gbit/s at 20 ms. */
const FILE_BYTES = 8_388_608;
const TOTAL_BYTES = 67_108_864;
/** What is gathered, and how large a write is that is worth it. */
const GATHER_BYTES = 131_072;
const SMALL_BYTES = 32_768;
/** What a piece has before it: uint64 offset, uint32 length. And room for so many of them. */
const HEAD_BYTES = 12;
const HEADS_BYTES = 4096;

/** What all files have under way, together. */
export class WriteBehindMemory {
  bytes = 0;
  /** Writes that had to wait for others. */
  waits = 0;
  /** Failures that were told later than by the write. */
  failures = 0;
  /** Where a file gathers what it writes. */
  readonly gathered = new Uint8Array(GATHER_BYTES + HEADS_BYTES);
  readonly view = new DataView(this.gathered.buffer);
  readonly #waiting: (() => void)[] = [];

  get isFull(): boolean {
    return this.bytes > TOTAL_BYTES;
  }

  /** Resolves when something has arrived. */
  async change(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#waiting.push(resolve);
    });
  }

  arrived(bytes: number): void {
    this.bytes -= bytes;
    for (const wake of this.#waiting.splice(0)) wake();
  }
}

/** Where something is written: at an offset, or at the end of the file. */
export type WritePlace = bigint | 'end';

/** What is gathered: pieces with a head each, or what goes to the end, without. */
interface Gathering {
  readonly isAppend: boolean;
  /** With the heads. */
  length: number;
  /** Without them. */
  bytes: number;
  /** Where the head of the last piece is, and the place behind what it will write. */
  headAt: number;
  next: bigint;
}

export class WriteBehind {
  readonly #memory: WriteBehindMemory;
  readonly #client: FileClient;
  readonly #remote: number;
  #bytes = 0;
  #failure: FileError | undefined;
  #isFirst = true;
  /** What this file gathers now. */
  #gathering: Gathering | undefined;

  /** `remote`: the handle of the file. */
  constructor(client: FileClient, remote: number, memory: WriteBehindMemory) {
    this.#client = client;
    this.#remote = remote;
    this.#memory = memory;
  }

  /** Whether one who writes so much need neither wait nor hear of a failure. */
  mayGoOn(bytes: number): boolean {
    const {isFull} = this.#memory;
    return this.#failure === undefined && !isFull && this.#bytes + bytes <= FILE_BYTES;
  }

  /** Sends or gathers `data`, which is not used after this returns. */
  take(place: WritePlace, data: Uint8Array): void {
    this.#bytes += data.length;
    this.#memory.bytes += data.length;
    const isSmall = data.length <= SMALL_BYTES && !this.#isFirst;
    this.#isFirst = false;
    if (this.#goesOn(place, data)) return;
    if (isSmall && this.#addPiece(place, data)) return;
    if (!isSmall) {
      this.#send(place, data);
      return;
    }
    this.#client.hold(() => this.#release());
    const isAppend = place === 'end';
    this.#gathering = {isAppend, length: 0, bytes: 0, headAt: 0, next: 0n};
    if (isAppend) this.#add(this.#gathering, data);
    else this.#addPiece(place, data);
  }

  /**
   * Takes `data`, and resolves when the program may go on. Rejects with the failure of an earlier write, and then sends
   * nothing.
   */
  async write(place: WritePlace, data: Uint8Array): Promise<void> {
    this.#tell();
    this.take(place, data);
    const memory = this.#memory;
    if (!memory.isFull && this.#bytes <= FILE_BYTES) return;
    memory.waits++;
    while (this.#bytes > 0 && (memory.isFull || this.#bytes > FILE_BYTES)) await memory.change();
  }

  /** Resolves when all has arrived. Rejects with the first failure that was not told yet. */
  async settled(): Promise<void> {
    if (this.#bytes > 0) this.#client.release();
    while (this.#bytes > 0) await this.#memory.change();
    this.#tell();
  }

  /** Adds what goes on where the last piece ends, if there is room. */
  #goesOn(place: WritePlace, data: Uint8Array): boolean {
    const now = this.#gathering;
    if (now === undefined || now.bytes + data.length > GATHER_BYTES) return false;
    if (place === 'end' ? !now.isAppend : now.isAppend || now.next !== place) return false;
    this.#add(now, data);
    return true;
  }

  /** Begins a piece, if there is room. */
  #addPiece(place: WritePlace, data: Uint8Array): boolean {
    const now = this.#gathering;
    if (now === undefined || now.isAppend || place === 'end') return false;
    const {gathered, view} = this.#memory;
    if (now.length + HEAD_BYTES + data.length > gathered.length) return false;
    now.headAt = now.length;
    view.setBigUint64(now.headAt, place, true);
    view.setUint32(now.headAt + 8, 0, true);
    now.length += HEAD_BYTES;
    now.next = place;
    this.#add(now, data);
    return true;
  }

  #add(now: Gathering, data: Uint8Array): void {
    const {gathered, view} = this.#memory;
    gathered.set(data, now.length);
    now.length += data.length;
    now.bytes += data.length;
    if (!now.isAppend) {
      now.next += BigInt(data.length);
      view.setUint32(now.headAt + 8, now.length - now.headAt - HEAD_BYTES, true);
    }
    if (now.bytes >= GATHER_BYTES) this.#client.release();
  }

  #release(): void {
    const now = this.#gathering;
    if (now === undefined) return;
    this.#gathering = undefined;
    const ask = new FileRequest(now.isAppend ? 'appendall' : 'writemany').u32(this.#remote);
    const gathered = this.#memory.gathered.subarray(0, now.length);
    void this.#follow(this.#client.request(ask, gathered, true), now.bytes);
  }

  #send(place: WritePlace, data: Uint8Array): void {
    const ask =
      place === 'end'
        ? new FileRequest('appendall').u32(this.#remote)
        : new FileRequest('writeall').u32(this.#remote).u64(place);
    void this.#follow(this.#client.request(ask, data), data.length);
  }

  async #follow(sent: Promise<unknown>, bytes: number): Promise<void> {
    try {
      await sent;
    } catch (error) {
      if (!(error instanceof FileError)) throw error;
      this.#failure ??= error;
      this.#memory.failures++;
    }
    this.#bytes -= bytes;
    this.#memory.arrived(bytes);
  }

  #tell(): void {
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure !== undefined) throw failure;
  }
}
