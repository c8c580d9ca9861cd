/**
 * Runs on the processor of a program that is answered at once and goes on at once: one that writes.
 *
 * Theory of operation. Neither of the two can do anything while the other does, and who is woken on another processor runs 15 to 50 µs
 * later in a virtual machine, since an interrupt has to get there. On the same one the program runs as soon as it is answered, and
 * we as soon as it has asked (Vigil stays awake meanwhile): 20 µs a write instead of 35 to 75. The kernel leaves us there for a while,
 * mostly, so where the program is need be looked at now and then only, which takes some 15 µs. Where it doesn't, because there
 * are many processors with nothing to do, that is in vain, and we look less often.
 *
 * What is not answered at once is another matter: the pod's answers want a processor as well.
 */

/** Writes of one thread until it is looked where that is, at least and at most. */
const WRITES_MIN = 32;
const WRITES_MAX = 4096;
/** A program that takes longer for a write, ms, has something else to do besides. */
const QUICK_MS = 0.3;

export interface NearnessOptions {
  readonly now: () => number;
  /** Moves us to where a thread is. Returns 1 if that was elsewhere, 0 if not, or a negative errno. */
  readonly goNear: (thread: number) => number;
}

export class Nearness {
  /** How often it was looked, and how often we moved. */
  readonly counters = {looks: 0, moves: 0};
  readonly #options: NearnessOptions;
  #thread = 0;
  #writes = 0;
  #since = 0;
  #every = WRITES_MIN;

  constructor(options: NearnessOptions) {
    this.#options = options;
  }

  /** A thread was answered at once. */
  answered(thread: number): void {
    if (thread !== this.#thread) {
      this.#thread = thread;
      this.#writes = 0;
    }
    this.#writes++;
    if (this.#writes === 1) this.#since = this.#options.now();
    if (this.#writes < this.#every) return;
    if (this.#options.now() - this.#since < QUICK_MS * this.#writes) this.#look();
    this.#writes = 0;
  }

  #look(): void {
    this.counters.looks++;
    const result = this.#options.goNear(this.#thread);
    if (result > 0) this.counters.moves++;
    this.#every = result === 0 ? WRITES_MIN : Math.min(2 * this.#every, WRITES_MAX);
  }
}
