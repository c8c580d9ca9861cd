/**
 * Datagrams on their way to the program. They are copied (the sender keeps its memory) into a queue
 * that `dispatch` empties; a full queue drops the newest, as a socket's receive buffer does, and
 * never makes anybody wait.
 *
 * A datagram larger than the MTU leaves as one plain packet, not as fragments: the kernel takes it
 * from a TUN device and delivers it whole.
 */
import type {Counters} from '../counters.ts';
import type {Limits} from '../limits.ts';
import type {PacketWriter} from '../packet-writer.ts';
import {Slab} from '../slab.ts';
import type {Emit, Endpoint} from '../types.ts';
import {createPath, maxPayload, PROTOCOL_UDP} from '../wire/ip.ts';
import {createUdpHeader, emitUdp, UDP_LENGTH} from '../wire/udp.ts';
import type {UdpSocket} from './flow.ts';

interface Datagram {
  readonly flow: UdpSocket;
  readonly from: Endpoint;
  readonly payload: Uint8Array;
}

export class UdpSendQueue {
  readonly #counters: Counters;
  readonly #limits: Limits;
  readonly #writer: PacketWriter;
  readonly #slab = new Slab();
  readonly #queue: Datagram[] = [];
  readonly #header = createUdpHeader();
  #bytes = 0;

  constructor(shared: {counters: Counters; limits: Limits; writer: PacketWriter}) {
    this.#counters = shared.counters;
    this.#limits = shared.limits;
    this.#writer = shared.writer;
  }

  get size(): number {
    return this.#queue.length;
  }

  /** Bytes that wait. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Queues a copy of `payload`; false: it was dropped. */
  push(flow: UdpSocket, from: Endpoint, payload: Uint8Array): boolean {
    const version = from.address.length === 4 ? 4 : 6;
    const most = maxPayload(version) - UDP_LENGTH;
    if (from.address.length !== flow.source.address.length || payload.length > most) {
      this.#counters.udpUnsendable += 1;
      return false;
    }
    if (
      flow.queuedDatagrams >= this.#limits.udpQueueDatagrams ||
      flow.queuedBytes + payload.length > this.#limits.udpQueueBytes ||
      this.#bytes + payload.length > this.#limits.udpQueueTotalBytes
    ) {
      this.#counters.udpQueueLimit += 1;
      return false;
    }
    this.#queue.push({flow, from, payload: this.#slab.copy(payload)});
    this.#count(flow, 1, payload.length);
    return true;
  }

  /** Sends what is queued, oldest first; false: the device is full. */
  dispatch(emit: Emit): boolean {
    let done = 0;
    for (const datagram of this.#queue) {
      if (datagram.flow.isOpen && !this.#send(datagram, emit)) {
        break;
      }
      this.#count(datagram.flow, -1, -datagram.payload.length);
      done += 1;
    }
    this.#queue.splice(0, done);
    return this.#queue.length === 0;
  }

  #send({flow, from, payload}: Datagram, emit: Emit): boolean {
    const writer = this.#writer;
    const path = createPath(PROTOCOL_UDP, from.address, flow.source.address);
    const header = this.#header;
    header.sourcePort = from.port;
    header.destinationPort = flow.source.port;
    header.length = UDP_LENGTH + payload.length;
    emitUdp(writer.head, writer.transportAt(path.version), header);
    writer.finish(path, UDP_LENGTH, payload.length, 0);
    if (payload.length > 0) {
      writer.packet.parts[0] = payload;
      writer.packet.partCount = 1;
    }
    return writer.emit(emit);
  }

  #count(flow: UdpSocket, datagrams: number, bytes: number): void {
    flow.queuedDatagrams += datagrams;
    flow.queuedBytes += bytes;
    this.#bytes += bytes;
  }

  /** Forgets what is queued. */
  clear(): void {
    this.#queue.length = 0;
    this.#bytes = 0;
  }
}
