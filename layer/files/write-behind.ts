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
 */

import {FileError} from './file-client.ts';

/** 3.2 Gbit/s at 20 ms. */
const FILE_BYTES = 8_388_608;
const TOTAL_BYTES = 67_108_864;

/** What all files have under way, together. */
export class WriteBehindMemory {
  bytes = 0;
  /** Writes that had to wait for others. */
  waits = 0;
  /** Failures that were told later than by the write. */
  failures = 0;
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

export class WriteBehind {
  readonly #memory: WriteBehindMemory;
  #bytes = 0;
  #failure: FileError | undefined;

  constructor(memory: WriteBehindMemory) {
    this.#memory = memory;
  }

  /**
   * Sends a write of so many bytes, and resolves when the program may go on. Rejects with the failure of an earlier
   * one, and then sends nothing.
   */
  async write(bytes: number, send: () => Promise<unknown>): Promise<void> {
    this.#tell();
    const memory = this.#memory;
    this.#bytes += bytes;
    memory.bytes += bytes;
    void this.#follow(send(), bytes);
    if (!memory.isFull && this.#bytes <= FILE_BYTES) return;
    memory.waits++;
    while (this.#bytes > 0 && (memory.isFull || this.#bytes > FILE_BYTES)) await memory.change();
  }

  /** Resolves when all has arrived. Rejects with the first failure that was not told yet. */
  async settled(): Promise<void> {
    while (this.#bytes > 0) await this.#memory.change();
    this.#tell();
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
