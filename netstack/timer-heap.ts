/**
 * A binary heap of things that have a next deadline. Each thing is in the heap at most once and
 * knows its place, so that moving or removing it costs O(log n), and looking at the first O(1).
 */
export interface Timed {
  /** The deadline in ms, or Infinity. Belongs to the heap; set it by `TimerHeap.set`. */
  timerAt: number;
  /** The place in the heap, −1 outside. Belongs to the heap. */
  timerIndex: number;
}

export class TimerHeap<T extends Timed> {
  readonly #heap: T[] = [];

  get size(): number {
    return this.#heap.length;
  }

  /** The thing with the earliest deadline. */
  get first(): T | undefined {
    return this.#heap[0];
  }

  /** Moves the deadline of `item` to `at`; Infinity takes it out. */
  set(item: T, at: number): void {
    if (at === item.timerAt) {
      return;
    }
    if (at === Number.POSITIVE_INFINITY) {
      this.delete(item);
      return;
    }
    const earlier = at < item.timerAt;
    item.timerAt = at;
    if (item.timerIndex < 0) {
      item.timerIndex = this.#heap.length;
      this.#heap.push(item);
      this.#up(item);
    } else if (earlier) {
      this.#up(item);
    } else {
      this.#down(item);
    }
  }

  /** Takes `item` out, if it is in. */
  delete(item: T): void {
    const index = item.timerIndex;
    item.timerAt = Number.POSITIVE_INFINITY;
    item.timerIndex = -1;
    const last = index < 0 ? undefined : this.#heap.pop();
    if (last === undefined || last === item) {
      return;
    }
    last.timerIndex = index;
    this.#heap[index] = last;
    this.#up(last);
    this.#down(last);
  }

  /** Forgets everything. */
  clear(): void {
    this.#heap.length = 0;
  }

  #up(item: T): void {
    let index = item.timerIndex;
    while (index > 0) {
      const above = (index - 1) >> 1;
      const other = this.#heap[above];
      if (other === undefined || other.timerAt <= item.timerAt) {
        break;
      }
      this.#heap[index] = other;
      other.timerIndex = index;
      index = above;
    }
    this.#heap[index] = item;
    item.timerIndex = index;
  }

  #down(item: T): void {
    let index = item.timerIndex;
    for (;;) {
      let below = index * 2 + 1;
      let other = this.#heap[below];
      const right = this.#heap[below + 1];
      if (other !== undefined && right !== undefined && right.timerAt < other.timerAt) {
        below += 1;
        other = right;
      }
      if (other === undefined || other.timerAt >= item.timerAt) {
        break;
      }
      this.#heap[index] = other;
      other.timerIndex = index;
      index = below;
    }
    this.#heap[index] = item;
    item.timerIndex = index;
  }
}
