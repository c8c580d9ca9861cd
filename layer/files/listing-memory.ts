/**
 * What all open directories hold of what was read for them, or ahead. Who opens thousands of large ones must not cost us gigabytes: when
 * there is too much, the directory that was read longest ago forgets what it holds, and asks again if it is read on.
 */

/** A directory that holds entries. */
export interface Holder {
  forget(): void;
}

/** Some 60 MB: an entry with its name and attributes takes a kilobyte of the heap, or less. */
const ENTRIES_MAX = 65_536;

export class ListingMemory {
  /** How many each holds, the one that was read longest ago first. */
  readonly #held = new Map<Holder, number>();
  readonly #limit: number;
  #entries = 0;

  constructor(limit = ENTRIES_MAX) {
    this.#limit = limit;
  }

  get entries(): number {
    return this.#entries;
  }

  /** Notes how many a directory holds by now; others may have to forget theirs. */
  holds(holder: Holder, entries: number): void {
    this.leaves(holder);
    this.#held.set(holder, entries);
    this.#entries += entries;
    for (const oldest of this.#held.keys()) {
      if (this.#entries <= this.#limit || oldest === holder) return;
      this.leaves(oldest);
      oldest.forget();
    }
  }

  /** Notes that it holds nothing any more. */
  leaves(holder: Holder): void {
    this.#entries -= this.#held.get(holder) ?? 0;
    this.#held.delete(holder);
  }
}
