/**
 * Builds whole ICMP and ICMPv6 packets, virtio header included. Rare and small, so each is its own
 * piece of memory. Their checksum is complete: the device offloads TCP and UDP only.
 */

import type {IpAddress} from '../types.ts';
import {checksum, sumWords} from '../wire/checksum.ts';
import {emitIcmp, ICMP_LENGTH, type IcmpHeader} from '../wire/icmp.ts';
import {createPath, ipHeaderLength, type Path, PROTOCOL_ICMP, PROTOCOL_ICMPV6} from '../wire/ip.ts';
import {emitIp} from '../wire/ip-packet.ts';
import {type Octets, octets} from '../wire/octets.ts';
import {VIRTIO_LENGTH} from '../wire/virtio.ts';

/** A message without its data. */
export interface IcmpMessage extends IcmpHeader {
  readonly from: IpAddress;
  readonly to: IpAddress;
}

/** RFC 1812, section 4.3.2.3, and RFC 4443, section 2.4c: an error fits the least MTU of all. */
const MAX_ERROR_V4 = 576;
const MAX_ERROR_V6 = 1280;

/** Builds a message around a copy of `data`. */
export function buildIcmp(message: IcmpMessage, data: Uint8Array): Uint8Array {
  const version = message.from.length === 4 ? 4 : 6;
  const path = createPath(
    version === 4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6,
    message.from,
    message.to,
  );
  const length = ICMP_LENGTH + data.length;
  const packet = octets(new Uint8Array(VIRTIO_LENGTH + ipHeaderLength(version) + length));
  const at = emitIp(packet, path, length, VIRTIO_LENGTH);
  emitIcmp(packet, at, message);
  packet.bytes.set(data, at + ICMP_LENGTH);
  packet.view.setUint16(at + 2, checksum(sumWords(packet, at, length) + pseudo(path, length)));
  return packet.bytes;
}

/** ICMP sums itself alone, ICMPv6 a pseudo-header too (RFC 4443, section 2.3). */
function pseudo(path: Path, length: number): number {
  return path.version === 6 ? path.pseudoSum + length : 0;
}

/** Builds an error about `offender`, an IP packet of which as much is embedded as may be. */
export function buildIcmpError(message: IcmpMessage, offender: Uint8Array): Uint8Array {
  const most =
    message.from.length === 4 ? MAX_ERROR_V4 - 20 - ICMP_LENGTH : MAX_ERROR_V6 - 40 - ICMP_LENGTH;
  return buildIcmp(message, offender.subarray(0, most));
}

/**
 * Builds the beginning of a packet that came along `path`, for an error about it whose original is
 * gone: an IP header and `transport`, the first bytes of what it carried.
 */
export function rebuildOffender(path: Path, transport: Uint8Array): Uint8Array {
  const packet: Octets = octets(new Uint8Array(ipHeaderLength(path.version) + transport.length));
  const at = emitIp(packet, path, transport.length, 0);
  packet.bytes.set(transport, at);
  return packet.bytes;
}
