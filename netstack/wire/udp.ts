/**
 * The UDP header (RFC 768).
 *
 *     source port:16 | destination port:16
 *     length:16 | checksum:16
 */
import type {Octets} from './octets.ts';

/** Bytes of the header. */
export const UDP_LENGTH = 8;

/** Host-order fields. */
export interface UdpHeader {
  sourcePort: number;
  destinationPort: number;
  /** Header and payload, in bytes. */
  length: number;
  /** 0: none (IPv4 only). */
  checksum: number;
}

/** A header of zeros. */
export function createUdpHeader(): UdpHeader {
  return {sourcePort: 0, destinationPort: 0, length: UDP_LENGTH, checksum: 0};
}

/** Parses the header in the `length` bytes at `offset`; false: it is none, or promises too much. */
export function parseUdp({view}: Octets, offset: number, length: number, into: UdpHeader): boolean {
  if (length < UDP_LENGTH) {
    return false;
  }
  into.sourcePort = view.getUint16(offset);
  into.destinationPort = view.getUint16(offset + 2);
  into.length = view.getUint16(offset + 4);
  into.checksum = view.getUint16(offset + 6);
  return into.length >= UDP_LENGTH && into.length <= length;
}

/** Writes the eight bytes at `offset`. */
export function emitUdp({view}: Octets, offset: number, header: UdpHeader): void {
  view.setUint16(offset, header.sourcePort);
  view.setUint16(offset + 2, header.destinationPort);
  view.setUint16(offset + 4, header.length);
  view.setUint16(offset + 6, header.checksum);
}
