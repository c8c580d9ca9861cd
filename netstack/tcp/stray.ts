/**
 * The CLOSED state: a segment that no connection wants is answered by RST (RFC 9293, section
 * 3.10.7.1). Stateless: it also cleans up what an earlier life of ours has forgotten, and turns the
 * challenge ACK that an inexact RST has drawn into an exact one.
 */

import type {PacketWriter} from '../packet-writer.ts';
import {
  copyDestination,
  copySource,
  createPath,
  type IpHeader,
  ipHeaderLength,
  PROTOCOL_TCP,
} from '../wire/ip.ts';
import type {Octets} from '../wire/octets.ts';
import {ACK, emitTcp, FIN, RST, SYN, TCP_LENGTH, type TcpHeader} from '../wire/tcp.ts';
import {VIRTIO_LENGTH} from '../wire/virtio.ts';
import {seqAdd} from './seq.ts';

/** Builds the RST for a segment with `textLength` bytes of text; undefined: it is one itself. */
export function buildStrayReset(
  writer: PacketWriter,
  {frame, ip, tcp}: {frame: Octets; ip: IpHeader; tcp: TcpHeader},
  textLength: number,
): Uint8Array | undefined {
  if (tcp.flags & RST) {
    return undefined;
  }
  const path = createPath(PROTOCOL_TCP, copyDestination(frame, ip), copySource(frame, ip));
  const length = textLength + (tcp.flags & SYN ? 1 : 0) + (tcp.flags & FIN ? 1 : 0);
  const hasAck = (tcp.flags & ACK) !== 0;
  emitTcp(writer.head, writer.transportAt(path.version), {
    sourcePort: tcp.destinationPort,
    destinationPort: tcp.sourcePort,
    seq: hasAck ? tcp.ack : 0,
    ack: hasAck ? 0 : seqAdd(tcp.seq, length),
    flags: hasAck ? RST : RST | ACK,
    window: 0,
    headerLength: TCP_LENGTH,
  });
  writer.finish(path, TCP_LENGTH, 0, 0);
  return writer.packet.head.slice(0, VIRTIO_LENGTH + ipHeaderLength(path.version) + TCP_LENGTH);
}
