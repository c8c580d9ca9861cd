/** Counts by port, of which nothing is kept where they are none. */
export class PortCounts {
  readonly #counts = new Map<number, number>();

  /** Those with any. */
  get ports(): Iterable<number> {
    return this.#counts.keys();
  }

  has(port: number): boolean {
    return this.#counts.has(port);
  }

  change(port: number, by: 1 | -1): void {
    const count = (this.#counts.get(port) ?? 0) + by;
    if (count > 0) this.#counts.set(port, count);
    else this.#counts.delete(port);
  }
}
