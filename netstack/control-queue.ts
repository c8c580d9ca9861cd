/**
 * Replies that belong to no flow: RSTs to strays, ICMP errors, echo replies. They are built whole
 * while a packet is processed and wait here for the next `dispatch`. Bounded; what does not fit is
 * dropped, as the network would.
 */
import type {Counters} from './counters.ts';
import type {Limits} from './limits.ts';
import type {PacketWriter} from './packet-writer.ts';
import type {Emit} from './types.ts';

export class ControlQueue {
  readonly #packets: Uint8Array[] = [];
  readonly #counters: Counters;
  readonly #limits: Limits;
  #bytes = 0;

  constructor(counters: Counters, limits: Limits) {
    this.#counters = counters;
    this.#limits = limits;
  }

  get size(): number {
    return this.#packets.length;
  }

  /** Bytes that wait. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Queues a packet that begins with its virtio header. Keeps it. */
  push(packet: Uint8Array): void {
    if (
      this.#packets.length >= this.#limits.controlPackets ||
      this.#bytes + packet.length > this.#limits.controlBytes
    ) {
      this.#counters.controlLimit += 1;
      return;
    }
    this.#packets.push(packet);
    this.#bytes += packet.length;
  }

  /** Emits what is queued, oldest first; false: the device is full. */
  dispatch(writer: PacketWriter, emit: Emit): boolean {
    let sent = 0;
    for (const packet of this.#packets) {
      if (!writer.emitWhole(packet, emit)) {
        break;
      }
      sent += 1;
      this.#bytes -= packet.length;
    }
    this.#packets.splice(0, sent);
    return this.#packets.length === 0;
  }

  /** Forgets what is queued. */
  clear(): void {
    this.#packets.length = 0;
    this.#bytes = 0;
  }
}
