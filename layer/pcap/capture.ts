/**
 * Records what crosses the TUN device, in both directions, into a file for Wireshark or tcpdump.
 *
 * Packets are recorded as they cross: with segmentation offload a packet may have up to 64 KiB, many segments
 * behind one header. Checksums that are left to the device are completed, as they will be on a wire. Traffic
 * between programs of the sandbox, and what goes to the pod's localhost, crosses `lo` and is not here.
 */

import type {OutPacket} from '../../netstack/types.ts';
import {checksum, sumWords} from '../../netstack/wire/checksum.ts';
import {octets} from '../../netstack/wire/octets.ts';
import {createVirtio, NEEDS_CSUM, parseVirtio, VIRTIO_LENGTH} from '../../netstack/wire/virtio.ts';
import type {FlowProcesses} from '../processes/flow-process.ts';
import {FlowComments, type PacketPlace} from './flow-comments.ts';
import type {PacketFile, Room} from './packet-file.ts';
import {
  emitInterface,
  emitPacket,
  emitSectionHeader,
  emitStatistics,
  packetDataOffset,
  packetOverhead,
} from './pcapng.ts';

/** Sees the packets of a TUN device, each with its virtio_net_hdr. Keeps none of them. */
export interface PacketTap {
  /** One that was read: sent by the program. */
  onRead(frame: Uint8Array, offset: number, length: number): void;
  /** One that was written: sent to the program. */
  onWritten(packet: OutPacket): void;
}

export interface Capture extends PacketTap, Disposable {
  readonly counters: {packets: number; bytes: number; left: number};
}

export interface CaptureOptions {
  /** Whom the packets belong to. */
  find: FlowProcesses['find'];
  /** The interface, in words. */
  description: string;
  /** Tells of packets that are missing in the file. */
  warn: (message: string) => void;
}

/** Microseconds since 1970. */
function nowUs(): number {
  return Math.round((performance.timeOrigin + performance.now()) * 1_000);
}

const nothing = new Uint8Array();

class FileCapture implements Capture {
  readonly #file: PacketFile;
  readonly #options: CaptureOptions;
  readonly #comments: FlowComments;
  readonly #startUs = nowUs();
  readonly #virtio = createVirtio();
  /** The buffer that packets come in; mostly the same. */
  #frame = octets(nothing);
  #packets = 0;

  constructor(file: PacketFile, options: CaptureOptions) {
    this.#file = file;
    this.#options = options;
    this.#comments = new FlowComments(options.find);
    file.add(emitSectionHeader());
    file.add(emitInterface('eth0', options.description));
  }

  get counters(): Capture['counters'] {
    return {packets: this.#packets, ...this.#file.counters};
  }

  onRead(frame: Uint8Array, offset: number, length: number): void {
    const room = this.#begin(frame, offset, length - VIRTIO_LENGTH);
    if (room === undefined) return;
    const packet = frame.subarray(offset + VIRTIO_LENGTH, offset + length);
    room.octets.bytes.set(packet, room.at + packetDataOffset);
    this.#finish(room, packet.length, true);
  }

  onWritten({head, headLength, parts, partCount}: OutPacket): void {
    let length = headLength - VIRTIO_LENGTH;
    for (let i = 0; i < partCount; i++) length += (parts[i] ?? nothing).length;
    const room = this.#begin(head, 0, length);
    if (room === undefined) return;
    const {bytes} = room.octets;
    let at = room.at + packetDataOffset;
    bytes.set(head.subarray(VIRTIO_LENGTH, headLength), at);
    at += headLength - VIRTIO_LENGTH;
    for (let i = 0; i < partCount; i++) {
      const part = parts[i] ?? nothing;
      bytes.set(part, at);
      at += part.length;
    }
    this.#finish(room, length, false);
  }

  [Symbol.dispose](): void {
    const {path, counters, failure} = this.#file;
    const {left} = counters;
    const [received, startUs, endUs] = [this.#packets, this.#startUs, nowUs()];
    this.#file.add(emitStatistics({startUs, endUs, received, dropped: left}));
    if (left === 0) return;
    const reason =
      failure === undefined ? 'they came faster than they could be written' : codeOf(failure);
    this.#options.warn(`${left} of ${received} packets are missing in ${path}: ${reason}`);
  }

  /** Reads the virtio_net_hdr at `offset` and makes room for the packet, of `length` bytes, that follows. */
  #begin(frame: Uint8Array, offset: number, length: number): Room | undefined {
    if (length <= 0) return undefined;
    if (this.#frame.bytes !== frame) this.#frame = octets(frame);
    parseVirtio(this.#frame, offset, this.#virtio);
    this.#packets++;
    return this.#file.reserve(length + packetOverhead);
  }

  #finish(room: Room, length: number, isOutbound: boolean): void {
    const place = {octets: room.octets, at: room.at + packetDataOffset, length, isOutbound};
    this.#completeChecksum(place);
    const comment = this.#comments.comment(place);
    const info = {timeUs: nowUs(), length, isOutbound, comment};
    this.#file.commit(emitPacket(room.octets, room.at, info));
  }

  /** Completes the checksum of a packet if its virtio_net_hdr says that this is left to do. */
  #completeChecksum({octets: into, at, length}: PacketPlace): void {
    const {flags, csumStart, csumOffset} = this.#virtio;
    const field = at + csumStart + csumOffset;
    if ((flags & NEEDS_CSUM) === 0 || field + 2 > at + length) return;
    // The field holds the sum of the pseudo-header, which is summed along.
    const sum = checksum(sumWords(into, at + csumStart, length - csumStart));
    const isUdp = csumOffset === 6; // where 0 means that there is none (RFC 768)
    into.view.setUint16(field, isUdp && sum === 0 ? 0xffff : sum);
  }
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? String(error);
}

/** Begins to record into a file, which stays its owner's. The statistics are added when disposed of. */
export function createCapture(file: PacketFile, options: CaptureOptions): Capture {
  return new FileCapture(file, options);
}
