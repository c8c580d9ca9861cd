/**
 * The virtio_net_hdr that stands before each packet of a TUN device opened with IFF_VNET_HDR
 * (Linux include/uapi/linux/virtio_net.h). Ten bytes, in the byte order of the host; we run on
 * little-endian machines only (x64, arm64).
 *
 *     u8 flags; u8 gso_type; u16 hdr_len; u16 gso_size; u16 csum_start; u16 csum_offset;
 */
import type {Octets} from './octets.ts';

/** Bytes of the header; also where the IP header starts in every packet we build. */
export const VIRTIO_LENGTH = 10;

/** The checksum field holds the folded pseudo-header sum only; the rest is for whoever sends it on. */
export const NEEDS_CSUM = 1;
/** The kernel has verified the checksum already. Only on read; ignored by the kernel on write. */
export const DATA_VALID = 2;

export const GSO_NONE = 0;
export const GSO_TCPV4 = 1;
export const GSO_TCPV6 = 4;
/** USO: a run of equal UDP datagrams behind one header. */
export const GSO_UDP_L4 = 5;

/** The fields that matter to us, host-order numbers. `hdr_len` is derived from the two others. */
export interface VirtioHeader {
  flags: number;
  gsoType: number;
  /** Payload bytes of each piece; 0 without GSO. */
  gsoSize: number;
  /** Bytes from the start of the IP header to the transport header. */
  csumStart: number;
  /** Where the checksum field is in the transport header: TCP 16, UDP 6. */
  csumOffset: number;
  /** IP + transport header bytes. A hint only when read; must be right when written with GSO. */
  headerLength: number;
}

/** A header of zeros: a plain packet with complete checksums. */
export function createVirtio(): VirtioHeader {
  return {flags: 0, gsoType: 0, gsoSize: 0, csumStart: 0, csumOffset: 0, headerLength: 0};
}

/** Reads the ten bytes at `offset`; the caller has made sure that they are there. */
export function parseVirtio({view}: Octets, offset: number, into: VirtioHeader): void {
  into.flags = view.getUint8(offset);
  into.gsoType = view.getUint8(offset + 1);
  into.headerLength = view.getUint16(offset + 2, true);
  into.gsoSize = view.getUint16(offset + 4, true);
  into.csumStart = view.getUint16(offset + 6, true);
  into.csumOffset = view.getUint16(offset + 8, true);
}

/** Writes all ten bytes at `offset`. */
export function emitVirtio({view}: Octets, offset: number, header: VirtioHeader): void {
  view.setUint8(offset, header.flags);
  view.setUint8(offset + 1, header.gsoType);
  view.setUint16(offset + 2, header.headerLength, true);
  view.setUint16(offset + 4, header.gsoSize, true);
  view.setUint16(offset + 6, header.csumStart, true);
  view.setUint16(offset + 8, header.csumOffset, true);
}
