/**
 * Reads a captured packet: the headers of IPv4 or IPv6, and of TCP. Sans-IO.
 *
 * A packet is one that a network card has put together from several (GRO), or is about to divide: up to 64 KiB and more, where
 * the length in its header is 0.
 */

import type {Ends} from '../tunnel-socket.ts';

export const FIN = 0x01;
export const SYN = 0x02;
export const RST = 0x04;
export const ACK = 0x10;

const TCP = 6;
/** Of an IPv4 header's flags and offset: a fragment, but for the last. */
const FRAGMENT = 0x3fff;
const IPV6_HEADER = 40;
/** With one extension header, of the jumbo option (RFC 2675). */
const JUMBO_HEADER = 48;

/** A segment, by its places in the bytes that it was read from; one object is used for all. */
export class Segment {
  /** Of both addresses: 4 or 16. */
  addressBytes = 0;
  sourceAt = 0;
  destinationAt = 0;
  sourcePort = 0;
  destinationPort = 0;
  sequence = 0;
  flags = 0;
  payloadAt = 0;
  payloadBytes = 0;

  /** Reads what is at `at`, `length` bytes of it there; false for what is no TCP segment, or not all of one. */
  read(bytes: Uint8Array, at: number, length: number): boolean {
    const version = length < 20 ? 0 : (bytes[at] ?? 0) >> 4;
    if (version === 4) return this.#readIpv4(bytes, at, length);
    if (version === 6) return this.#readIpv6(bytes, at, length);
    return false;
  }

  /** The ends of the connection, of a segment of the client's. */
  endsOf(bytes: Uint8Array): Ends {
    const address = (at: number): Uint8Array => bytes.slice(at, at + this.addressBytes);
    return {
      peer: {address: address(this.sourceAt), port: this.sourcePort},
      local: {address: address(this.destinationAt), port: this.destinationPort},
    };
  }

  #readIpv4(bytes: Uint8Array, at: number, length: number): boolean {
    const header = 4 * ((bytes[at] ?? 0) & 15);
    const total = half(bytes, at + 2);
    if (header < 20 || bytes[at + 9] !== TCP || (half(bytes, at + 6) & FRAGMENT) !== 0)
      return false;
    // 0: more than the field can tell. What is behind the packet fills an Ethernet frame up.
    const end = total === 0 ? length : total;
    if (end > length) return false;
    this.addressBytes = 4;
    this.sourceAt = at + 12;
    this.destinationAt = at + 16;
    return this.#readTcp(bytes, at + header, at + end);
  }

  #readIpv6(bytes: Uint8Array, at: number, length: number): boolean {
    const payload = half(bytes, at + 4);
    const isJumbo = bytes[at + 6] === 0;
    const header = isJumbo ? JUMBO_HEADER : IPV6_HEADER;
    if (bytes[at + (isJumbo ? IPV6_HEADER : 6)] !== TCP) return false;
    if (isJumbo && bytes[at + IPV6_HEADER + 1] !== 0) return false;
    const end = payload === 0 ? length : IPV6_HEADER + payload;
    if (end > length) return false;
    this.addressBytes = 16;
    this.sourceAt = at + 8;
    this.destinationAt = at + 24;
    return this.#readTcp(bytes, at + header, at + end);
  }

  #readTcp(bytes: Uint8Array, at: number, end: number): boolean {
    const header = 4 * ((bytes[at + 12] ?? 0) >> 4);
    if (end - at < 20 || header < 20 || header > end - at) return false;
    this.sourcePort = half(bytes, at);
    this.destinationPort = half(bytes, at + 2);
    this.sequence = ((half(bytes, at + 4) << 16) | half(bytes, at + 6)) >>> 0;
    this.flags = bytes[at + 13] ?? 0;
    this.payloadAt = at + header;
    this.payloadBytes = end - this.payloadAt;
    return true;
  }
}

function half(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}
