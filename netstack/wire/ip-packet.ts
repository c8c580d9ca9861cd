/**
 * Chooses between IPv4 and IPv6, so that what lies above needs to know of the version only where the
 * protocols themselves differ.
 */
import {type IpHeader, type IpVerdict, ipHeaderLength, type Path} from './ip.ts';
import {emitIpv4, parseIpv4} from './ipv4.ts';
import {emitIpv6, parseIpv6} from './ipv6.ts';
import type {Octets} from './octets.ts';

/** Parses the packet at `[into.start, into.end)` of `frame` into `into`. */
export function parseIp(frame: Octets, into: IpHeader): IpVerdict {
  if (into.end <= into.start) {
    return 'malformed';
  }
  switch (frame.view.getUint8(into.start) >> 4) {
    case 4:
      return parseIpv4(frame, into);
    case 6:
      return parseIpv6(frame, into);
    default:
      return 'malformed';
  }
}

/** Writes the IP header of `path` at `offset` and returns where the payload begins. */
export function emitIp(target: Octets, path: Path, payloadLength: number, offset: number): number {
  if (path.version === 4) {
    emitIpv4(target, path, payloadLength, offset);
  } else {
    emitIpv6(target, path, payloadLength, offset);
  }
  return offset + ipHeaderLength(path.version);
}
