/**
 * Sequence number arithmetic (RFC 9293, section 3.4): all of it modulo 2^32, all of it here.
 * Sequence numbers are unsigned 32-bit integers; nobody else compares or adds them raw.
 */

/** `seq` + `count`. */
export function seqAdd(seq: number, count: number): number {
  return (seq + count) >>> 0;
}

/** How far `a` is ahead of `b`: positive, zero or negative, in [−2^31, 2^31). */
export function seqDiff(a: number, b: number): number {
  return (a - b) | 0;
}

/** a < b */
export function seqLt(a: number, b: number): boolean {
  return ((a - b) | 0) < 0;
}

/** a ≤ b */
export function seqLe(a: number, b: number): boolean {
  return ((a - b) | 0) <= 0;
}
