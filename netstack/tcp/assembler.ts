/**
 * Holds data that came before its turn. Without it, one packet that the device's ring drops turns
 * into the whole flight sent again. Pieces are copies (the read buffer is reused), sorted, and never
 * overlap: of bytes that come twice, the first copy stays.
 */
export interface AssemblerLimits {
  readonly outOfOrderSegments: number;
  readonly outOfOrderBytes: number;
}

interface Piece {
  /** Stream offset of the first byte. */
  start: number;
  data: Uint8Array;
}

export class Assembler {
  readonly #pieces: Piece[] = [];
  #bytes = 0;

  /** Bytes held. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Pieces held. */
  get size(): number {
    return this.#pieces.length;
  }

  /**
   * Copies in the bytes of `data`, which begin at stream offset `start`; false: there was no room
   * for some of them, and the peer will have to send them again.
   */
  insert(start: number, data: Uint8Array, limits: AssemblerLimits): boolean {
    let index = this.#after(start);
    let from = start;
    const end = start + data.length;
    const before = this.#pieces[index - 1];
    if (before !== undefined) {
      from = Math.max(from, before.start + before.data.length);
    }
    while (from < end) {
      const next = this.#pieces[index];
      const to = next === undefined ? end : Math.min(end, next.start);
      if (to > from) {
        const length = to - from;
        if (
          this.#pieces.length >= limits.outOfOrderSegments ||
          this.#bytes + length > limits.outOfOrderBytes
        ) {
          return false;
        }
        this.#pieces.splice(index, 0, {start: from, data: data.slice(from - start, to - start)});
        this.#bytes += length;
        index += 1;
      }
      from = next === undefined ? end : next.start + next.data.length;
      index += 1;
    }
    return true;
  }

  /** Takes out the bytes that continue the stream at `offset`; undefined: there is still a gap. */
  take(offset: number): Uint8Array | undefined {
    for (;;) {
      const piece = this.#pieces[0];
      if (piece === undefined || piece.start > offset) {
        return undefined;
      }
      this.#pieces.shift();
      this.#bytes -= piece.data.length;
      const known = offset - piece.start;
      if (known < piece.data.length) {
        return piece.data.subarray(known);
      }
    }
  }

  /** Forgets all pieces. */
  clear(): void {
    this.#pieces.length = 0;
    this.#bytes = 0;
  }

  /** The index of the first piece that starts after `offset`. */
  #after(offset: number): number {
    let low = 0;
    let high = this.#pieces.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#pieces[middle]?.start ?? 0) <= offset) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }
}
