/**
 * Says to the relays of connections, once, that these are to be let go: each goes on for as long as its protocol wants, and
 * is ended where nobody loses anything by that.
 */

export class LettingGo {
  readonly #listeners = new Set<() => void>();
  #isSaid = false;

  get isSaid(): boolean {
    return this.#isSaid;
  }

  say(): void {
    if (this.#isSaid) return;
    this.#isSaid = true;
    for (const listener of this.#listeners) listener();
    this.#listeners.clear();
  }

  /** Has `listener` hear of it, at once if it was said; returns what ends that. */
  onSaid(listener: () => void): () => void {
    if (this.#isSaid) listener();
    else this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
