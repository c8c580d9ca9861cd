/**
 * Stays awake for what comes in a moment: an answer of a pod that is near, the next question of a program that asks one
 * after the other. To fall asleep and be woken takes longer than much of what is waited for (layer/native/awake.c).
 *
 * Theory of operation. Programs wait, or none does; both take their time, and when most of the last times were short, the
 * next one is expected to be. So nobody stays awake who is far from the pod, or for a program that now and then looks at
 * a file, but for once in vain. It is never for longer than what counts as short.
 */

/** What counts as short, ms: with an agent on this machine a request takes 0.2, and twice as long at first. */
const ANSWER_MS = 0.5;
const QUESTION_MS = 0.1;
/** Of so many times the most must have been short. */
const TIMES = 8;
const MOST = 6;

/** Whether something came soon, of late. */
class Lately {
  readonly #limitMs: number;
  readonly #were: boolean[] = [];
  #count = 0;
  #short = 0;

  constructor(limitMs: number) {
    this.#limitMs = limitMs;
  }

  get isShort(): boolean {
    return this.#short >= MOST;
  }

  add(ms: number): void {
    const at = this.#count++ % TIMES;
    const isShort = ms < this.#limitMs;
    if (this.#were[at] === true) this.#short--;
    if (isShort) this.#short++;
    this.#were[at] = isShort;
  }
}

export interface VigilOptions {
  readonly now: () => number;
  /** Does not sleep for so many µs from now, or may again (0). */
  readonly stayAwake: (microseconds: number) => void;
}

export class Vigil {
  readonly #options: VigilOptions;
  readonly #answers = new Lately(ANSWER_MS);
  readonly #questions = new Lately(QUESTION_MS);
  /** Programs that wait. */
  #waiting = 0;
  /** When the first began to, or the last had its answer. */
  #since = Number.NEGATIVE_INFINITY;
  #isAwake = false;

  constructor(options: VigilOptions) {
    this.#options = options;
  }

  /** A program waits. */
  began(): void {
    const now = this.#options.now();
    this.#waiting++;
    if (this.#waiting === 1) {
      this.#questions.add(now - this.#since);
      this.#since = now;
    }
    // Where there is always somebody who waits, there is always something that comes.
    this.#stay(this.#answers.isShort && now - this.#since < ANSWER_MS ? ANSWER_MS : 0);
  }

  /** It has its answer. */
  ended(): void {
    this.#waiting--;
    if (this.#waiting > 0) return;
    const now = this.#options.now();
    this.#answers.add(now - this.#since);
    this.#since = now;
    this.#stay(this.#questions.isShort ? QUESTION_MS : 0);
  }

  #stay(ms: number): void {
    if (ms === 0 && !this.#isAwake) return;
    this.#isAwake = ms > 0;
    this.#options.stayAwake(1000 * ms);
  }
}
