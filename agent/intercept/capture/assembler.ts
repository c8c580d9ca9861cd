/**
 * Puts the bytes of one direction of a connection in order, as its receiver does (RFC 9293, section 3.4). Sans-IO.
 *
 * What was there before wins where segments overlap, as in the kernel. What comes early waits, up to a limit of each connection and of
 * all; if the capture has lost what it waits for, it waits in vain, and whoever asks `isWaiting` ends that.
 */

import type {Pool} from '../../../tunnel/memory.ts';

/** What may wait of a connection: what a sender on a long way sends until it hears of a loss. */
const WAITING_BYTES = 2_097_152;
/** Pieces that wait, each of which costs something besides its bytes. */
const WAITING_PIECES = 2_048;
/** No window is larger (RFC 7323, section 2.3): what is further ahead makes no sense. */
const FURTHEST_AHEAD = 2 ** 30;

interface Piece {
  readonly sequence: number;
  readonly bytes: Uint8Array;
}

/** Takes what is in order. */
export interface Assembled {
  /** The bytes are the sink's own. */
  write(bytes: Uint8Array): void;
  end(): void;
}

/** How far `to` is from `from`; negative: behind it. */
export function distance(from: number, to: number): number {
  return (to - from) | 0;
}

export class Assembler {
  readonly #sink: Assembled;
  readonly #pool: Pool;
  readonly #waiting: Piece[] = [];
  #waitingBytes = 0;
  #next: number;
  #end: number | undefined;

  /** `next`: the sequence number of the first byte. `pool`: what waits of all connections. */
  constructor(next: number, sink: Assembled, pool: Pool) {
    this.#next = next;
    this.#sink = sink;
    this.#pool = pool;
  }

  /** The sequence number that is expected. */
  get next(): number {
    return this.#next;
  }

  /** Whether something is missing before what has come. */
  get isWaiting(): boolean {
    return this.#waiting.length > 0 || this.#end !== undefined;
  }

  /** All was delivered, and there is no more. */
  get isDone(): boolean {
    return this.#end === this.#next;
  }

  /**
   * Takes a segment's payload, which is `length` bytes of `source` from `at` on. `taken`: it was, or was known.
   * `nonsense`: it can be none of this connection. `full`: too much waits already, and this connection can't be gone on with.
   */
  take(
    sequence: number,
    source: Uint8Array,
    at: number,
    length: number,
    isLast: boolean,
  ): 'taken' | 'nonsense' | 'full' {
    const ahead = distance(this.#next, sequence);
    if (ahead > FURTHEST_AHEAD || ahead < -FURTHEST_AHEAD) return 'nonsense';
    if (isLast) this.#end ??= (sequence + length) >>> 0;
    if (ahead > 0) {
      if (length > 0 && !this.#keep({sequence, bytes: source.slice(at, at + length)}))
        return 'full';
      return 'taken';
    }
    if (length + ahead > 0) this.#deliver(source.slice(at - ahead, at + length));
    if (this.#waiting.length > 0) this.#goOn();
    if (this.isDone) this.#sink.end();
    return 'taken';
  }

  /** Forgets what waits. */
  close(): void {
    this.#pool.change(-this.#waitingBytes);
    this.#waiting.length = this.#waitingBytes = 0;
  }

  #deliver(bytes: Uint8Array): void {
    this.#next = (this.#next + bytes.length) >>> 0;
    this.#sink.write(bytes);
  }

  #keep(piece: Piece): boolean {
    const waiting = this.#waiting;
    // Searched from the end, where it mostly belongs.
    let at = waiting.length;
    while (at > 0 && distance(piece.sequence, waiting[at - 1]?.sequence ?? 0) > 0) at--;
    const before = waiting[at - 1];
    if (before !== undefined && covers(before, piece)) return true;
    const bytes = this.#waitingBytes + piece.bytes.length;
    if (bytes > WAITING_BYTES || waiting.length >= WAITING_PIECES || this.#pool.isFull)
      return false;
    waiting.splice(at, 0, piece);
    this.#waitingBytes = bytes;
    this.#pool.change(piece.bytes.length);
    return true;
  }

  /** Delivers what is not missing any more. */
  #goOn(): void {
    let count = 0;
    for (const {sequence, bytes} of this.#waiting) {
      const ahead = distance(this.#next, sequence);
      if (ahead > 0) break;
      count++;
      this.#waitingBytes -= bytes.length;
      this.#pool.change(-bytes.length);
      if (bytes.length + ahead > 0) this.#deliver(ahead < 0 ? bytes.subarray(-ahead) : bytes);
    }
    this.#waiting.splice(0, count);
  }
}

function covers(one: Piece, other: Piece): boolean {
  return distance(one.sequence, other.sequence) + other.bytes.length <= one.bytes.length;
}
