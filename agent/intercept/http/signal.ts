/**
 * Wakes everything that waits for something to change, each of which then looks whether it is what it waits for.
 *
 * One per connection: a wait that was given up leaves nothing behind, as it would on promises of single events.
 */

export class Signal {
  #waiting: Promise<void> | undefined;
  #wake: (() => void) | undefined;

  /** Resolves at the next `notify`. */
  wait(): Promise<void> {
    this.#waiting ??= new Promise((resolve) => {
      this.#wake = resolve;
    });
    return this.#waiting;
  }

  notify(): void {
    this.#wake?.();
    this.#wake = this.#waiting = undefined;
  }

  /** Notifies in `ms` milliseconds, unless what it returns is called before. */
  notifyIn(ms: number): () => void {
    const timer = setTimeout(() => this.notify(), ms);
    return () => clearTimeout(timer);
  }
}
