/**
 * IPv4 (RFC 791).
 *
 *     version:4 ihl:4 | tos:8 | total length:16
 *     identification:16 | reserved:1 DF:1 MF:1 fragment offset:13
 *     ttl:8 | protocol:8 | header checksum:16
 *     source:32 | destination:32 | options
 */
import {checksum, fold, sumWords} from './checksum.ts';
import {HOP_LIMIT, type IpHeader, type IpVerdict, type Path} from './ip.ts';
import type {Octets} from './octets.ts';

const DONT_FRAGMENT = 0x4000;
const MORE_FRAGMENTS = 0x2000;

/**
 * Parses the packet at `[into.start, into.end)`. Options are skipped, bytes after the total length
 * ignored. The header checksum is verified: the kernel always completes it.
 */
export function parseIpv4(frame: Octets, into: IpHeader): IpVerdict {
  const {view} = frame;
  const {start, end} = into;
  if (end - start < 20) {
    return 'malformed';
  }
  const headerLength = (view.getUint8(start) & 0xf) * 4;
  const totalLength = view.getUint16(start + 2);
  if (headerLength < 20 || totalLength < headerLength || totalLength > end - start) {
    return 'malformed';
  }
  if (fold(sumWords(frame, start, headerLength)) !== 0xffff) {
    return 'checksum';
  }
  const fragment = view.getUint16(start + 6);
  into.version = 4;
  into.protocol = view.getUint8(start + 9);
  into.sourceAt = start + 12;
  into.destinationAt = start + 16;
  into.payloadAt = start + headerLength;
  into.payloadLength = totalLength - headerLength;
  into.fragmentId = view.getUint16(start + 4);
  into.fragmentOffset = (fragment & 0x1fff) * 8;
  into.moreFragments = (fragment & MORE_FRAGMENTS) !== 0;
  into.isFragment = into.moreFragments || into.fragmentOffset > 0;
  return 'ok';
}

/**
 * Writes a 20-byte header at `offset`, for a payload of `payloadLength` bytes. Don't-fragment with
 * identification 0: an atomic datagram (RFC 6864, section 4.1), even where it exceeds the MTU.
 */
export function emitIpv4(target: Octets, path: Path, payloadLength: number, offset: number): void {
  const {view, bytes} = target;
  view.setUint16(offset, 0x4500);
  view.setUint16(offset + 2, 20 + payloadLength);
  view.setUint16(offset + 4, 0);
  view.setUint16(offset + 6, DONT_FRAGMENT);
  view.setUint8(offset + 8, HOP_LIMIT);
  view.setUint8(offset + 9, path.protocol);
  view.setUint16(offset + 10, 0);
  bytes.set(path.from, offset + 12);
  bytes.set(path.to, offset + 16);
  view.setUint16(offset + 10, checksum(sumWords(target, offset, 20)));
}
