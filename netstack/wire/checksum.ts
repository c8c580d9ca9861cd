/**
 * The Internet checksum (RFC 1071): the ones' complement of the ones' complement sum of 16-bit
 * big-endian words. Sums are kept unfolded in a number while they are built: 65,535 bytes add up to
 * less than 2^32.
 */
import type {Octets} from './octets.ts';

/** Adds the big-endian words of `length` bytes from `offset`; an odd last byte counts as its high half. */
export function sumWords({view}: Octets, offset: number, length: number): number {
  let sum = 0;
  const even = offset + length - (length & 1);
  for (let at = offset; at < even; at += 2) {
    sum += view.getUint16(at);
  }
  return length & 1 ? sum + view.getUint8(even) * 256 : sum;
}

/** Adds the words of an address (4 or 16 bytes, network order). */
export function sumAddress(address: Uint8Array): number {
  let sum = 0;
  for (let at = 0; at < address.length; at += 2) {
    sum += (address[at] ?? 0) * 256 + (address[at + 1] ?? 0);
  }
  return sum;
}

/** Folds a sum (< 2^32) into 16 bits, not inverted: what a NEEDS_CSUM packet holds. */
export function fold(sum: number): number {
  let folded = (sum & 0xffff) + (sum >>> 16);
  folded = (folded & 0xffff) + (folded >>> 16);
  return folded;
}

/** Folds and inverts: the value of a complete checksum field. */
export function checksum(sum: number): number {
  return ~fold(sum) & 0xffff;
}
