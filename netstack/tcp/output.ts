/**
 * Writes one segment of a connection and hands it to the device.
 */
import type {PacketWriter} from '../packet-writer.ts';
import type {Emit} from '../types.ts';
import {
  createTcpHeader,
  emitSynOptions,
  emitTcp,
  SYN,
  TCP_LENGTH,
  type TcpHeader,
} from '../wire/tcp.ts';
import type {TcpHost} from './host.ts';
import type {Tcb} from './tcb.ts';
import {advertise, advertiseUnscaled} from './window.ts';

/** Where segments go during one `dispatch`. One object, reused. */
export interface Output {
  readonly host: TcpHost;
  readonly writer: PacketWriter;
  emit: Emit;
  now: number;
  /** The header under construction. */
  readonly header: TcpHeader;
}

/** An output that refuses everything until `emit` is set. */
export function createOutput(host: TcpHost, writer: PacketWriter): Output {
  return {host, writer, emit: () => false, now: 0, header: createTcpHeader()};
}

/**
 * Sends a segment with the payload that was gathered into the writer's parts: `length` bytes. Seq,
 * ack and flags are taken from `output.header`; the window is filled in. False: the device is full.
 */
export function sendSegment(output: Output, tcb: Tcb, length: number): boolean {
  const {writer, header} = output;
  const at = writer.transportAt(tcb.path.version);
  const isSyn = (header.flags & SYN) !== 0;
  header.sourcePort = tcb.destinationPort;
  header.destinationPort = tcb.sourcePort;
  header.headerLength = TCP_LENGTH;
  if (isSyn) {
    header.headerLength += emitSynOptions(writer.head, at + TCP_LENGTH, {
      mss: tcb.rcvMss,
      windowScale: tcb.rcvShift > 0 ? tcb.rcvShift : undefined,
    });
  }
  const advertised = tcb.advertised;
  header.window = isSyn ? advertiseUnscaled(tcb) : advertise(tcb);
  emitTcp(writer.head, at, header);
  writer.finish(tcb.path, header.headerLength, length, tcb.mss);
  if (writer.emit(output.emit)) {
    return true;
  }
  // The peer has not heard of it.
  tcb.advertised = advertised;
  return false;
}
