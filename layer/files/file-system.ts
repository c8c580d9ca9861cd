/**
 * A file system, by whoever answers for it now: the process that does so may die alone (out of memory, a fault), here or in the
 * pod, while all else goes on. Then the next question is asked of another one.
 *
 * What was open is open no more: whoever keeps a handle keeps the client that it is of, which has EIO for everything, at once. To open
 * it again by its path could take another file for it, to which the program would then write.
 *
 * No more than STARTS_MAX are started in STARTS_MS: what kills one may well kill the next.
 */

import type {FileClient} from './file-client.ts';

const STARTS_MAX = 8;
const STARTS_MS = 600_000;

export interface FileSystemOptions {
  /** Starts another one; undefined where there can be none any more. */
  readonly start: () => FileClient | undefined;
  /** Is told the first time that there is another one. */
  readonly onReplaced: () => void;
  readonly now: () => number;
}

export class FileSystem implements Disposable {
  /** How often another one was started. */
  replaced = 0;
  #client: FileClient;
  readonly #options: FileSystemOptions;
  /** When the last ones were. */
  readonly #starts: number[] = [];
  #isDisposed = false;

  constructor(first: FileClient, options: FileSystemOptions) {
    this.#client = first;
    this.#options = options;
  }

  /** Whoever answers now. Who has it open keeps it. */
  get client(): FileClient {
    if (this.#client.isOver && !this.#isDisposed) this.#replace();
    return this.#client;
  }

  get counters(): object {
    return {...this.#client.counters, replaced: this.replaced};
  }

  [Symbol.dispose](): void {
    this.#isDisposed = true;
    this.#client[Symbol.dispose]();
  }

  #replace(): void {
    const {start, onReplaced, now} = this.#options;
    const [oldest = 0] = this.#starts;
    const isOften = this.#starts.length >= STARTS_MAX && now() - oldest < STARTS_MS;
    const next = isOften ? undefined : start();
    if (next === undefined) return;
    this.#client[Symbol.dispose]();
    this.#client = next;
    this.#starts.push(now());
    if (this.#starts.length > STARTS_MAX) this.#starts.shift();
    if (++this.replaced === 1) onReplaced();
  }
}
