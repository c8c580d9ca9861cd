/**
 * Puts the head of a message together from the bytes of a connection. Sans-IO.
 *
 * The head ends with the first empty line. A line that ends with LF alone is where implementations disagree:
 * the head counts as broken at that byte, so that its end is never waited for.
 */

/** Node takes 16 KiB, nginx 32 KiB, Java's servers 8 KiB; what is larger is passed on as it is. */
export const HEAD_BYTES = 65_536;

const NOTHING = Buffer.alloc(0);
const CR = 0x0d;
const LF = 0x0a;

export class HeadBuffer {
  #bytes: Buffer = NOTHING;
  #length = 0;
  #isOwn = false;
  #scanned = 0;
  #lineStart = 0;

  /** What is kept of a head that is not whole. */
  get keptBytes(): number {
    return this.#length;
  }

  /**
   * Adds bytes. Returns the length of the head once it is whole, `broken`, or `more`. They are copied if more are
   * needed; a head that comes in one piece is not, and `take` then returns the same bytes.
   */
  push(chunk: Buffer): number | 'broken' | 'more' {
    if (this.#length > 0) {
      this.#append(chunk);
      return this.#scan();
    }
    this.#bytes = chunk;
    this.#length = chunk.length;
    const found = this.#scan();
    if (found === 'more') {
      this.#length = 0;
      this.#append(chunk);
    }
    return found;
  }

  /** Returns all bytes, and is empty again. */
  take(): Buffer {
    const bytes =
      this.#bytes.length === this.#length ? this.#bytes : this.#bytes.subarray(0, this.#length);
    this.#bytes = NOTHING;
    this.#length = this.#scanned = this.#lineStart = 0;
    this.#isOwn = false;
    return bytes;
  }

  #append(chunk: Buffer): void {
    const needed = this.#length + chunk.length;
    if (!this.#isOwn || needed > this.#bytes.length) {
      // Doubled, so that a head that comes byte by byte is not copied for each of them.
      const grown = Buffer.allocUnsafe(Math.max(2048, 2 * needed));
      this.#bytes.copy(grown, 0, 0, this.#length);
      this.#bytes = grown;
      this.#isOwn = true;
    }
    chunk.copy(this.#bytes, this.#length);
    this.#length = needed;
  }

  #scan(): number | 'broken' | 'more' {
    const bytes = this.#bytes;
    const end = Math.min(this.#length, HEAD_BYTES);
    for (;;) {
      const lf = bytes.indexOf(LF, this.#scanned);
      if (lf < 0 || lf >= end) break;
      if (lf === 0 || bytes[lf - 1] !== CR) return 'broken';
      this.#scanned = lf + 1;
      const isEmptyLine = lf - this.#lineStart === 1;
      this.#lineStart = lf + 1;
      if (isEmptyLine) return lf + 1;
    }
    this.#scanned = end;
    return this.#length > HEAD_BYTES ? 'broken' : 'more';
  }
}
