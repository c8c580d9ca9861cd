/**
 * Builds packets for the device in one reused head: virtio_net_hdr, IP header, transport header.
 * Payload is never copied and never summed: TCP and UDP leave with NEEDS_CSUM, their checksum field
 * holding the folded pseudo-header sum (of the super-segment, if it is one).
 */
import type {Counters} from './counters.ts';
import type {Emit, OutPacket} from './types.ts';
import {fold} from './wire/checksum.ts';
import {ipHeaderLength, type Path} from './wire/ip.ts';
import {emitIp} from './wire/ip-packet.ts';
import {type Octets, octets} from './wire/octets.ts';
import {
  createVirtio,
  emitVirtio,
  GSO_NONE,
  GSO_TCPV4,
  GSO_TCPV6,
  NEEDS_CSUM,
  VIRTIO_LENGTH,
  type VirtioHeader,
} from './wire/virtio.ts';

/** Room for the virtio header, IPv6 and the longest TCP header. */
const HEAD_LENGTH = VIRTIO_LENGTH + 40 + 60;

const NOTHING: Uint8Array = new Uint8Array(0);

export class PacketWriter {
  /** The packet under construction. Fill `parts` and `partCount`, then `finish` and `emit`. */
  readonly packet: OutPacket;
  /** The head, to write the transport header into. */
  readonly head: Octets;
  readonly #virtio: VirtioHeader = createVirtio();
  readonly #counters: Counters;
  readonly #gso: boolean;
  readonly #whole = {head: NOTHING, headLength: 0, parts: [], partCount: 0};

  constructor(counters: Counters, gso: boolean) {
    const head = new Uint8Array(HEAD_LENGTH);
    this.head = octets(head);
    this.packet = {head, headLength: 0, parts: [], partCount: 0};
    this.#counters = counters;
    this.#gso = gso;
  }

  /** Where the transport header of a packet of this IP version is to be written. */
  transportAt(version: 4 | 6): number {
    return VIRTIO_LENGTH + ipHeaderLength(version);
  }

  /**
   * Completes the head around a TCP or UDP header of `headerLength` bytes that has been written at
   * `transportAt`. With `gsoSize` > 0, a longer payload is marked as a run of TCP segments of that
   * size; where the kernel refuses those, it goes as one plain packet larger than the MTU.
   */
  finish(path: Path, headerLength: number, payloadLength: number, gsoSize: number): void {
    const {view} = this.head;
    const virtio = this.#virtio;
    const ipLength = ipHeaderLength(path.version);
    virtio.flags = NEEDS_CSUM;
    virtio.csumStart = ipLength;
    virtio.csumOffset = path.protocol === 6 ? 16 : 6;
    virtio.headerLength = ipLength + headerLength;
    if (this.#gso && gsoSize > 0 && payloadLength > gsoSize) {
      virtio.gsoType = path.version === 4 ? GSO_TCPV4 : GSO_TCPV6;
      virtio.gsoSize = gsoSize;
    } else {
      virtio.gsoType = GSO_NONE;
      virtio.gsoSize = 0;
    }
    emitVirtio(this.head, 0, virtio);
    const transportLength = headerLength + payloadLength;
    const transportAt = emitIp(this.head, path, transportLength, VIRTIO_LENGTH);
    view.setUint16(transportAt + virtio.csumOffset, fold(path.pseudoSum + transportLength));
    this.packet.headLength = transportAt + headerLength;
  }

  /** Hands over a packet that is built already, virtio header and all; false: the device is full. */
  emitWhole(packet: Uint8Array, emit: Emit): boolean {
    this.#whole.head = packet;
    this.#whole.headLength = packet.length;
    const taken = emit(this.#whole);
    this.#whole.head = NOTHING;
    if (taken) {
      this.#counters.framesOut += 1;
    }
    return taken;
  }

  /** Hands the packet to the device; false: it is full. Drops the references to the payload. */
  emit(emit: Emit): boolean {
    const {packet} = this;
    const taken = emit(packet);
    for (let index = 0; index < packet.partCount; index += 1) {
      packet.parts[index] = NOTHING;
    }
    packet.partCount = 0;
    if (taken) {
      this.#counters.framesOut += 1;
    }
    return taken;
  }
}
