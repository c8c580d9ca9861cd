/** So many at once, and so many a second. */
export class RateLimit {
  readonly #burst: number;
  readonly #perSecond: number;
  #left: number;
  #since = performance.now();

  constructor(burst: number, perSecond: number) {
    this.#burst = burst;
    this.#perSecond = perSecond;
    this.#left = burst;
  }

  /** Takes one; returns false when there is none left. */
  take(): boolean {
    if (this.#left < 1) {
      const now = performance.now();
      const gained = ((now - this.#since) / 1000) * this.#perSecond;
      this.#left = Math.min(this.#burst, this.#left + gained);
      this.#since = now;
    }
    if (this.#left < 1) return false;
    this.#left--;
    return true;
  }
}
