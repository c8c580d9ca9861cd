/**
 * Copies small pieces of bytes into large blocks: one allocation for many. A block lives as long as
 * one of its pieces.
 */
const BLOCK_LENGTH = 65_536;

export class Slab {
  #block = new Uint8Array(0);
  #used = 0;

  /** Copies `bytes`. */
  copy(bytes: Uint8Array): Uint8Array {
    if (bytes.length > BLOCK_LENGTH / 2) {
      return bytes.slice();
    }
    if (this.#used + bytes.length > this.#block.length) {
      this.#block = new Uint8Array(BLOCK_LENGTH);
      this.#used = 0;
    }
    const piece = this.#block.subarray(this.#used, this.#used + bytes.length);
    piece.set(bytes);
    this.#used += bytes.length;
    return piece;
  }
}
