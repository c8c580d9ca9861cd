/**
 * Says that something has changed to everything that waits for it, each of which then looks whether it is what it
 * waits for.
 *
 * One per connection: a wait that was given up leaves nothing behind, as it would on promises of single events.
 */

export class Signal {
  /** Called at once, while what was just read is still in the memory that it was read into. */
  listener: (() => void) | undefined;
  #waiting: Promise<void> | undefined;
  #wake: (() => void) | undefined;

  /** Resolves after the next `notify`. */
  wait(): Promise<void> {
    this.#waiting ??= new Promise((resolve) => {
      this.#wake = resolve;
    });
    return this.#waiting;
  }

  notify(): void {
    this.listener?.();
    if (this.#wake === undefined) return;
    this.#wake();
    this.#wake = this.#waiting = undefined;
  }

  /** Notifies in `ms` milliseconds, unless what it returns is called before. */
  notifyIn(ms: number): () => void {
    const timer = setTimeout(() => this.notify(), ms);
    return () => clearTimeout(timer);
  }
}
