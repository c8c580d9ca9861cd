/**
 * Datagrams between the program and UDP servers on the pod's loopback (statsd, tracing agents), or at
 * its own address.
 *
 * Theory of operation. What the rules of `localhost.ts` hand over arrives at transparent sockets of the
 * sandbox; the addon puts each datagram back into the packet it was, and the netstack takes it like one
 * from the TUN device: same flows, same timers, same limits. What the stack answers can't go back by the
 * TUN (the kernel drops packets from its own addresses that come from outside), nor by a bound socket (the
 * program may want that very port), so it is sent whole by a raw socket of the sandbox, over `lo`.
 */

import type {IpAddress, OutPacket} from '../netstack/types.ts';
import {closeFd, readTransparentUdp, sendPacket} from './native/native.ts';

/** virtio_net_hdr, which only the TUN device understands. */
const vnetLength = 10;
const slotSize = 66_048;
/** Datagrams read at once: more wait in the sockets' buffers. */
const slotCount = 8;

export interface LoopbackUdp extends Disposable {
  /** Begins to read: `process` for each packet, then `done` for the batch. */
  start(
    process: (frame: Uint8Array, offset: number, length: number) => void,
    done: () => void,
  ): void;
  /** Whether a packet of the stack's, with this head, must go this way: it comes from here. */
  carries(head: Uint8Array): boolean;
  /** Sends a packet of the stack's over `lo`. One that can't be sent is lost, as UDP may be. */
  send(packet: OutPacket): void;
  readonly counters: {datagramsIn: number; datagramsOut: number; lost: number};
}

/** Descriptors made by the launcher in the sandbox; owned by the result. */
export interface LoopbackUdpSockets {
  transparent: readonly number[];
  /** Raw sockets; undefined where the kernel has not the family. */
  raw4: number | undefined;
  raw6: number | undefined;
  /** The addresses whose packets can't come by the TUN: loopback and the sandbox's own. */
  addresses: readonly IpAddress[];
}

/** Whether `head`, which begins with a virtio_net_hdr, comes from `address`. Allocates nothing. */
function isFrom(head: Uint8Array, address: IpAddress): boolean {
  const isV4 = address.length === 4;
  if (head[vnetLength] !== (isV4 ? 0x45 : 0x60)) return false;
  const start = vnetLength + (isV4 ? 12 : 8);
  for (let i = address.length - 1; i >= 0; i--) {
    if (head[start + i] !== address[i]) return false;
  }
  return true;
}

/** The Internet checksum (RFC 1071) of `bytes`, over a sum so far. */
function checksum(bytes: Uint8Array, from: number, to: number, initial: number): number {
  let sum = initial;
  for (let i = from; i < to; i += 2)
    sum += ((bytes[i] ?? 0) << 8) | (i + 1 < to ? (bytes[i + 1] ?? 0) : 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

/** The stack leaves the UDP checksum to the device; here it must be whole. */
function completeChecksum(packet: Uint8Array, length: number): void {
  const isV6 = packet[0] === 0x60;
  const udp = isV6 ? 40 : 20;
  if (packet[isV6 ? 6 : 9] !== 17) return; // ICMP comes complete
  const view = new DataView(packet.buffer, packet.byteOffset, length);
  view.setUint16(udp + 6, 0);
  // Pseudo-header (RFC 768, RFC 8200 section 8.1): both addresses, protocol, length.
  const addresses = isV6 ? 8 : 12;
  let pseudo = 17 + (length - udp);
  for (let i = addresses; i < udp; i += 2) pseudo += view.getUint16(i);
  view.setUint16(udp + 6, checksum(packet, udp, length, pseudo) || 0xffff);
}

/** Takes the sockets over. */
export function createLoopbackUdp(sockets: LoopbackUdpSockets): LoopbackUdp {
  const counters = {datagramsIn: 0, datagramsOut: 0, lost: 0};
  const packet = new Uint8Array(slotSize);
  const readers: Disposable[] = [];

  return {
    counters,
    start(process, done) {
      for (const fd of sockets.transparent) {
        const ring = new Uint8Array(slotSize * slotCount);
        const lengths = new Uint32Array(slotCount);
        const onBatch = (count: number): void => {
          counters.datagramsIn += count;
          for (let i = 0; i < count; i++) process(ring, i * slotSize, lengths[i] ?? 0);
          done();
        };
        readers.push(readTransparentUdp({fd, ring, slotSize, lengths, onBatch}));
      }
    },
    carries(head) {
      for (const address of sockets.addresses) if (isFrom(head, address)) return true;
      return false;
    },
    send({head, headLength, parts, partCount}) {
      packet.set(head.subarray(vnetLength, headLength));
      let length = headLength - vnetLength;
      for (let i = 0; i < partCount; i++) {
        const part = parts[i];
        if (part === undefined) continue;
        packet.set(part, length);
        length += part.length;
      }
      completeChecksum(packet, length);
      const fd = packet[0] === 0x60 ? sockets.raw6 : sockets.raw4;
      if (fd !== undefined && sendPacket(fd, packet, length) === 0) counters.datagramsOut++;
      else counters.lost++;
    },
    [Symbol.dispose]() {
      for (const reader of readers.splice(0)) reader[Symbol.dispose]();
      for (const fd of [sockets.raw4, sockets.raw6]) if (fd !== undefined) closeFd(fd);
    },
  };
}
