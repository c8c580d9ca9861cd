/**
 * What IPv4 and IPv6 have in common: the parsed header that the protocols above work from, and the
 * path (addresses and protocol) that outgoing packets of a flow share.
 */
import type {IpAddress} from '../types.ts';
import {sumAddress} from './checksum.ts';
import type {Octets} from './octets.ts';

export const PROTOCOL_ICMP = 1;
export const PROTOCOL_TCP = 6;
export const PROTOCOL_UDP = 17;
export const PROTOCOL_ICMPV6 = 58;

/** The largest TCP packet we build, IP header included: the limit of IPv4, kept for IPv6. */
export const MAX_PACKET = 65_535;

/** Hop limit of what we send: Linux's net.ipv4.ip_default_ttl. */
export const HOP_LIMIT = 64;

/** A parsed header. Offsets are positions in the frame that was parsed, all fields host order. */
export interface IpHeader {
  /** Where the packet starts and what it may reach to. Set by the caller before parsing. */
  start: number;
  end: number;
  version: 4 | 6;
  /** The protocol after all extension headers. */
  protocol: number;
  sourceAt: number;
  destinationAt: number;
  payloadAt: number;
  payloadLength: number;
  /** True for a real fragment, not for an atomic one (RFC 6946). */
  isFragment: boolean;
  /** In bytes. */
  fragmentOffset: number;
  moreFragments: boolean;
  /** 16 bits for IPv4, 32 for IPv6. */
  fragmentId: number;
  /** What to complain about, counted from `start`: RFC 4443's pointer. */
  pointer: number;
}

/** `unknown-header` and `bad-header` are IPv6 only: RFC 4443's parameter problem, codes 1 and 0. */
export type IpVerdict = 'ok' | 'malformed' | 'checksum' | 'unknown-header' | 'bad-header';

/** An empty header to parse into; one is enough for a stack. */
export function createIpHeader(): IpHeader {
  return {
    start: 0,
    end: 0,
    version: 4,
    protocol: 0,
    sourceAt: 0,
    destinationAt: 0,
    payloadAt: 0,
    payloadLength: 0,
    isFragment: false,
    fragmentOffset: 0,
    moreFragments: false,
    fragmentId: 0,
    pointer: 0,
  };
}

/** Copies the source address out of the frame. */
export function copySource(frame: Octets, ip: IpHeader): IpAddress {
  return frame.bytes.slice(ip.sourceAt, ip.sourceAt + (ip.version === 4 ? 4 : 16));
}

/** Copies the destination address out of the frame. */
export function copyDestination(frame: Octets, ip: IpHeader): IpAddress {
  return frame.bytes.slice(ip.destinationAt, ip.destinationAt + (ip.version === 4 ? 4 : 16));
}

/** Whether the destination is a multicast or the limited broadcast address, or none at all. */
export function isGroupDestination({view}: Octets, ip: IpHeader): boolean {
  if (ip.version === 6) {
    return view.getUint8(ip.destinationAt) === 0xff || isZero6(view, ip.destinationAt);
  }
  const first = view.getUint8(ip.destinationAt);
  return first === 0 || first >= 224;
}

function isZero6(view: DataView, at: number): boolean {
  return (
    (view.getInt32(at) | view.getInt32(at + 4) | view.getInt32(at + 8) | view.getInt32(at + 12)) ===
    0
  );
}

/** What all packets of one direction of a flow have in common. */
export interface Path {
  readonly version: 4 | 6;
  readonly protocol: number;
  readonly from: IpAddress;
  readonly to: IpAddress;
  /** Sum of the pseudo-header without the length: addresses and protocol. */
  readonly pseudoSum: number;
}

/** Describes packets from `from` to `to`. Keeps both addresses. */
export function createPath(protocol: number, from: IpAddress, to: IpAddress): Path {
  return {
    version: from.length === 4 ? 4 : 6,
    protocol,
    from,
    to,
    pseudoSum: sumAddress(from) + sumAddress(to) + protocol,
  };
}

/** The most bytes that can follow the IP header that we build: IPv4's length counts it, IPv6's doesn't. */
export function maxPayload(version: 4 | 6): number {
  return version === 4 ? 65_535 - 20 : 65_535;
}

/** Bytes of the IP header that we build: no options, no extension headers. */
export function ipHeaderLength(version: 4 | 6): number {
  return version === 4 ? 20 : 40;
}
