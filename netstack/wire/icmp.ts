/**
 * ICMP (RFC 792) and ICMPv6 (RFC 4443): one layout, two numberings.
 *
 *     type:8 | code:8 | checksum:16
 *     rest:32       echo: identifier:16, sequence:16; errors: 0, MTU or pointer
 *     data          echo: payload; errors: the packet that caused it
 */
import type {Octets} from './octets.ts';

/** Bytes before the data. */
export const ICMP_LENGTH = 8;

export const ECHO_REPLY = 0;
export const UNREACHABLE = 3;
export const ECHO_REQUEST = 8;
export const PARAMETER_PROBLEM = 12;

export const V6_UNREACHABLE = 1;
export const V6_TOO_BIG = 2;
export const V6_PARAMETER_PROBLEM = 4;
export const V6_ECHO_REQUEST = 128;
export const V6_ECHO_REPLY = 129;

/** Host-order fields. */
export interface IcmpHeader {
  type: number;
  code: number;
  /** The second word, unsigned: its meaning hangs on the type. */
  rest: number;
}

/** A header of zeros. */
export function createIcmpHeader(): IcmpHeader {
  return {type: 0, code: 0, rest: 0};
}

/** Parses the header in the `length` bytes at `offset`; false: too short. */
export function parseIcmp(
  {view}: Octets,
  offset: number,
  length: number,
  into: IcmpHeader,
): boolean {
  if (length < ICMP_LENGTH) {
    return false;
  }
  into.type = view.getUint8(offset);
  into.code = view.getUint8(offset + 1);
  into.rest = view.getUint32(offset + 4);
  return true;
}

/** Writes the eight bytes at `offset`, the checksum as zero. */
export function emitIcmp({view}: Octets, offset: number, header: IcmpHeader): void {
  view.setUint8(offset, header.type);
  view.setUint8(offset + 1, header.code);
  view.setUint16(offset + 2, 0);
  view.setUint32(offset + 4, header.rest);
}

/** Whether a message of this type reports an error: never answered by another (RFC 1122, 3.2.2). */
export function isIcmpError(version: 4 | 6, type: number): boolean {
  if (version === 6) {
    return type < 128;
  }
  return type === 3 || type === 4 || type === 5 || type === 11 || type === 12;
}
