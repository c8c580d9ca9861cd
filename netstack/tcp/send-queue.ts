/**
 * Bytes on their way to the program: written by the layer, not yet acknowledged by the program's
 * kernel. They are copied once, into blocks that are used again when all of them are acknowledged; packets carry
 * views of them. Positions are absolute stream offsets (the first byte is 0), not sequence numbers, so nothing wraps.
 *
 * A queue that holds little gets memory of that size: 10,000 flows with a few lines each have no blocks.
 */

/** As much as a segment with GSO carries, about. */
const BLOCK_BYTES = 65_536;
/** No more than this is a little. */
const LITTLE_BYTES = 4096;
/** Blocks that are kept for the next one who needs some, of all flows: 8 MiB. */
const SPARE_BLOCKS = 128;

const spare: Uint8Array[] = [];

/** A buffer, the stream offset of its first byte, and that behind its last one in use. */
interface Block {
  readonly bytes: Uint8Array;
  readonly start: number;
  end: number;
}

export class SendQueue {
  readonly #blocks: Block[] = [];
  /** The first block that still has unacknowledged bytes; those before it are dead slots. */
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

  /** Appends a copy of `chunk`. */
  push(chunk: Uint8Array): void {
    let at = 0;
    while (at < chunk.length) {
      const block = this.#tail(chunk.length - at);
      const used = block.end - block.start;
      const count = Math.min(block.bytes.length - used, chunk.length - at);
      block.bytes.set(count === chunk.length ? chunk : chunk.subarray(at, at + count), used);
      block.end += count;
      this.#written += count;
      at += count;
    }
  }

  /** Forgets all bytes below `offset`. */
  acknowledge(offset: number): void {
    this.#acked = Math.min(Math.max(offset, this.#acked), this.#written);
    let head = this.#head;
    while (head < this.#blocks.length) {
      const block = this.#blocks[head] ?? NOTHING;
      if (block.end > this.#acked) break;
      this.#blocks[head] = NOTHING;
      free(block);
      head += 1;
    }
    // Dead slots are removed when they are the majority: constant cost per block.
    if (head === this.#blocks.length) {
      this.#blocks.length = 0;
      head = 0;
    } else if (head > 32 && head * 2 > this.#blocks.length) {
      this.#blocks.splice(0, head);
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
      const block = this.#blocks[index] ?? NOTHING;
      const to = Math.min(block.end, end);
      parts[count] = block.bytes.subarray(at - block.start, to - block.start);
      count += 1;
      at = to;
      index += 1;
    }
    this.gathered = at - range.offset;
    return count;
  }

  /** Bytes that the last `gather` found. */
  gathered = 0;

  /** Forgets everything that is not sent: what lies at and above `offset`. */
  clear(): void {
    for (let index = this.#head; index < this.#blocks.length; index++) {
      free(this.#blocks[index] ?? NOTHING);
    }
    this.#blocks.length = 0;
    this.#head = 0;
    this.#acked = this.#written;
  }

  /** The last block if there is room in it, or a new one for the next `bytes`. */
  #tail(bytes: number): Block {
    const last = this.#head < this.#blocks.length ? this.#blocks.at(-1) : undefined;
    if (last !== undefined && last.end - last.start < last.bytes.length) return last;
    const wanted = last === undefined ? bytes : Math.max(bytes, this.#written - this.#acked);
    const buffer = wanted > LITTLE_BYTES ? newBlock() : new Uint8Array(wanted);
    const block = {bytes: buffer, start: this.#written, end: this.#written};
    this.#blocks.push(block);
    return block;
  }

  /** The index of the block that holds `offset`: binary search. */
  #find(offset: number): number {
    let low = this.#head;
    let high = this.#blocks.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#blocks[middle]?.end ?? 0) <= offset) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }
}

function newBlock(): Uint8Array {
  return spare.pop() ?? new Uint8Array(BLOCK_BYTES);
}

/** Nobody has a view of it any more: packets are written at once. */
function free({bytes}: Block): void {
  if (bytes.length === BLOCK_BYTES && spare.length < SPARE_BLOCKS) spare.push(bytes);
}

const NOTHING: Block = {bytes: new Uint8Array(0), start: 0, end: 0};
