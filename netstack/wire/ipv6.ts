/**
 * IPv6 and its extension headers (RFC 8200).
 *
 *     version:4 class:8 flow label:20 | payload length:16 | next header:8 | hop limit:8
 *     source:128 | destination:128
 *
 *     extension: next header:8 | length in 8 bytes, less 1:8 | …
 *     fragment:  next header:8 | reserved:8 | offset:13 reserved:2 more:1 | identification:32
 */
import {HOP_LIMIT, type IpHeader, type IpVerdict, type Path} from './ip.ts';
import type {Octets} from './octets.ts';

const HOP_BY_HOP = 0;
const ROUTING = 43;
const FRAGMENT = 44;
const AUTHENTICATION = 51;
const NO_NEXT_HEADER = 59;
const DESTINATION_OPTIONS = 60;

const TCP = 6;
const UDP = 17;
const ICMPV6 = 58;

/** More extension headers than that are an attack, not a packet. */
const MAX_EXTENSIONS = 8;

/**
 * Parses the packet at `[into.start, into.end)`, extension headers included. A fragment's chain is
 * followed up to the fragment header: what comes after it is the payload, its type `protocol`.
 */
export function parseIpv6({view}: Octets, into: IpHeader): IpVerdict {
  const {start} = into;
  if (into.end - start < 40) {
    return 'malformed';
  }
  const end = start + 40 + view.getUint16(start + 4);
  if (end > into.end) {
    return 'malformed';
  }
  into.version = 6;
  into.sourceAt = start + 8;
  into.destinationAt = start + 24;
  into.isFragment = false;
  into.moreFragments = false;
  into.fragmentOffset = 0;
  let at = start + 40;
  let nextAt = start + 6;
  for (let count = 0; ; count += 1) {
    const protocol = view.getUint8(nextAt);
    if (protocol === TCP || protocol === UDP || protocol === ICMPV6 || into.isFragment) {
      into.protocol = protocol;
      into.payloadAt = at;
      into.payloadLength = end - at;
      return 'ok';
    }
    into.pointer = nextAt - start;
    if (!isExtension(protocol)) {
      // RFC 8200, section 4: an unrecognized next header is answered, but for "no next header".
      return protocol === NO_NEXT_HEADER ? 'malformed' : 'unknown-header';
    }
    // RFC 8200, section 4.1: hop-by-hop options come first or not at all.
    if (protocol === HOP_BY_HOP && count > 0) {
      return 'unknown-header';
    }
    if (count === MAX_EXTENSIONS || end - at < 8) {
      return 'malformed';
    }
    if (protocol === FRAGMENT) {
      const word = view.getUint16(at + 2);
      into.fragmentOffset = word & 0xfff8;
      into.moreFragments = (word & 1) !== 0;
      into.fragmentId = view.getUint32(at + 4);
      // RFC 6946: an atomic fragment is an ordinary packet.
      into.isFragment = into.moreFragments || into.fragmentOffset > 0;
    } else if (protocol === ROUTING && view.getUint8(at + 3) > 0 && isDeadRouting(view, at)) {
      into.pointer = at + 2 - start;
      return 'bad-header';
    }
    nextAt = at;
    at += extensionLength(view, protocol, at);
    if (at > end) {
      return 'malformed';
    }
  }
}

/** RFC 5095: type 0 must not be processed. With segments left, no type is meant for us. */
function isDeadRouting(view: DataView, at: number): boolean {
  return view.getUint8(at + 2) === 0;
}

function isExtension(protocol: number): boolean {
  return (
    protocol === HOP_BY_HOP ||
    protocol === ROUTING ||
    protocol === FRAGMENT ||
    protocol === AUTHENTICATION ||
    protocol === DESTINATION_OPTIONS
  );
}

function extensionLength(view: DataView, protocol: number, at: number): number {
  switch (protocol) {
    case FRAGMENT:
      return 8;
    case AUTHENTICATION:
      // RFC 4302, section 2.2: in 4 bytes, less 2.
      return (view.getUint8(at + 1) + 2) * 4;
    default:
      return (view.getUint8(at + 1) + 1) * 8;
  }
}

/** Writes a 40-byte header at `offset`, for a payload of `payloadLength` bytes. Flow label 0. */
export function emitIpv6(
  {view, bytes}: Octets,
  path: Path,
  payloadLength: number,
  offset: number,
): void {
  view.setUint32(offset, 0x60000000);
  view.setUint16(offset + 4, payloadLength);
  view.setUint8(offset + 6, path.protocol);
  view.setUint8(offset + 7, HOP_LIMIT);
  bytes.set(path.from, offset + 8);
  bytes.set(path.to, offset + 24);
}
