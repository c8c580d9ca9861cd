/**
 * Bytes on their way to the program: written by the layer, not yet acknowledged by the program's
 * kernel. Chunks are kept as they came and never copied; packets carry views of them. Positions are
 * absolute stream offsets (the first byte is 0), not sequence numbers, so nothing wraps.
 */
export class SendQueue {
  readonly #chunks: Uint8Array[] = [];
  /** The stream offset at which each chunk ends. */
  readonly #ends: number[] = [];
  /** The first chunk that still has unacknowledged bytes; those before it are dead slots. */
  #head = 0;
  #acked = 0;
  #written = 0;

  /** Bytes below this offset are acknowledged and forgotten. */
  get acked(): number {
    return this.#acked;
  }

  /** The offset after the last byte. */
  get written(): number {
    return this.#written;
  }

  /** Appends `chunk`, and keeps it. */
  push(chunk: Uint8Array): void {
    if (chunk.length === 0) {
      return;
    }
    this.#written += chunk.length;
    this.#chunks.push(chunk);
    this.#ends.push(this.#written);
  }

  /** Forgets all bytes below `offset`. */
  acknowledge(offset: number): void {
    this.#acked = Math.min(Math.max(offset, this.#acked), this.#written);
    let head = this.#head;
    while (head < this.#ends.length && (this.#ends[head] ?? 0) <= this.#acked) {
      this.#chunks[head] = NOTHING;
      head += 1;
    }
    // Dead slots are removed when they are the majority: constant cost per chunk.
    if (head > 32 && head * 2 > this.#ends.length) {
      this.#chunks.splice(0, head);
      this.#ends.splice(0, head);
      head = 0;
    }
    this.#head = head;
  }

  /**
   * Puts views of the bytes from `offset`, at most `length` of them in at most `maxParts` pieces,
   * into `parts[0, …)`. Returns the number of pieces; see `gathered` for the bytes.
   */
  gather(range: {offset: number; length: number; maxParts: number}, parts: Uint8Array[]): number {
    let index = this.#find(range.offset);
    let at = range.offset;
    const end = Math.min(range.offset + range.length, this.#written);
    let count = 0;
    while (at < end && count < range.maxParts) {
      const chunk = this.#chunks[index] ?? NOTHING;
      const chunkEnd = this.#ends[index] ?? at;
      const from = chunk.length - (chunkEnd - at);
      const to = chunk.length - Math.max(0, chunkEnd - end);
      parts[count] = from === 0 && to === chunk.length ? chunk : chunk.subarray(from, to);
      count += 1;
      at = Math.min(chunkEnd, end);
      index += 1;
    }
    this.gathered = at - range.offset;
    return count;
  }

  /** Bytes that the last `gather` found. */
  gathered = 0;

  /** Forgets everything that is not sent: what lies at and above `offset`. */
  clear(): void {
    this.#chunks.length = 0;
    this.#ends.length = 0;
    this.#head = 0;
    this.#acked = this.#written;
  }

  /** The index of the chunk that holds `offset`: binary search. */
  #find(offset: number): number {
    let low = this.#head;
    let high = this.#ends.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#ends[middle] ?? 0) <= offset) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }
}

const NOTHING = new Uint8Array(0);
