/**
 * Drives the TUN device, the netstack and its timers on one thread.
 *
 * Theory of operation. Packets come in batches (`native/device.c`): each is processed, then one dispatch
 * sends what all of them have caused: one acknowledgement a flow and batch. It is a turn later, after the tunnel has
 * sent what they brought, for which somebody waits. What the tunnel brings
 * calls `kick`, which dispatches once after all that the loop has to read now, so that many pieces cause one
 * dispatch: TLS brings bulk in records of 16 KiB, and a packet of 64 costs the kernel and the program hardly more
 * than one of 16. A long read does not keep the program waiting, though. Between events the loop
 * sleeps until `pollAt`.
 *
 * Datagrams that the tunnel has no room for were read for nothing, and took the time of those that carry the others. So
 * when one is dropped, the device is left alone for a moment: what the program sends then waits there, or its kernel drops it,
 * which is cheaper (Mogul and Ramakrishnan, "Eliminating Receive Livelock in an Interrupt-driven Kernel").
 *
 * The ring holds 64 packets of at most 66,048 bytes: virtio_net_hdr, an IPv6 header and 65,535 bytes of
 * payload, rounded up to 64.
 */

import type {Stack} from '../netstack/stack.ts';
import type {OutPacket} from '../netstack/types.ts';
import type {LoopbackUdp} from './loopback-udp.ts';
import {type TunTap, tunTap} from './native/native.ts';
import type {PacketTap} from './pcap/capture.ts';

const slotSize = 66_048;
const slotCount = 64;
/** How long to wait when the device is full, in ms: the kernel drains it in microseconds. */
const fullRetryMs = 1;
/** How long the device is left alone when a datagram was dropped, in ms: the tunnel has more than that to send. */
const crowdedMs = 1;
/** So many kicks are dispatched without waiting for more: 256 KiB of bulk from TLS. */
const kicksPerDispatch = 16;

export interface TunDriver extends Disposable {
  /** Something happened to a flow: dispatch at the end of this turn. */
  kick(): void;
  /** The tunnel has no room for datagrams: read the device a little later. */
  crowd(): void;
  /** Packets and errors since the start. */
  readonly counters: {
    packetsIn: number;
    packetsOut: number;
    full: number;
    writeErrors: number;
    crowded: number;
  };
}

export interface TunDriverOptions {
  /** From the sandbox; owned by the driver. */
  fd: number;
  /** Makes the stack, once it is known whether the kernel takes GSO packets. */
  createStack: (gso: boolean) => Stack;
  /** Carries the datagrams between the program and the pod's loopback, where there is one. */
  loopbackUdp?: LoopbackUdp;
  /** Sees what crosses the device. */
  tap?: PacketTap;
}

/** A GSO super-segment of two pieces that the kernel's IP layer drops: its time to live is 0. */
function gsoProbe(): Uint8Array {
  const payload = 2_000;
  const packet = new Uint8Array(10 + 40 + payload);
  const view = new DataView(packet.buffer);
  packet[0] = 1; // VIRTIO_NET_HDR_F_NEEDS_CSUM
  packet[1] = 1; // VIRTIO_NET_HDR_GSO_TCPV4
  view.setUint16(2, 40, true); // hdr_len
  view.setUint16(4, 1_000, true); // gso_size
  view.setUint16(6, 20, true); // csum_start
  view.setUint16(8, 16, true); // csum_offset
  packet[10] = 0x45;
  view.setUint16(12, 40 + payload);
  packet[19] = 6; // TCP; the time to live before it stays 0
  packet.set([192, 0, 2, 1, 192, 0, 2, 2], 22); // documentation addresses (RFC 5737)
  packet[42] = 0x50; // data offset
  packet[43] = 0x10; // ACK
  return packet;
}

/**
 * Whether the kernel takes GSO packets on write. Some releases answer EINVAL (Linux 6.6.44 and its
 * relatives); plain packets beyond the MTU do as well then.
 */
function takesGso(device: TunTap): boolean {
  const probe = gsoProbe();
  return device.write(probe, probe.length, [], 0) === 0;
}

/** Starts to drive the device. */
export function driveTun({
  fd,
  createStack,
  loopbackUdp,
  tap,
}: TunDriverOptions): TunDriver & {readonly stack: Stack} {
  const ring = new Uint8Array(slotSize * slotCount);
  const lengths = new Uint32Array(slotCount);
  const counters = {packetsIn: 0, packetsOut: 0, full: 0, writeErrors: 0, crowded: 0};
  let timer: NodeJS.Timeout | undefined;
  let timerAt = Number.POSITIVE_INFINITY;
  let kicks = 0;
  let isCrowded = false;
  let isOpen = true;

  const emit = (packet: OutPacket): boolean => {
    if (loopbackUdp?.carries(packet.head)) {
      loopbackUdp.send(packet);
      return true;
    }
    const result = device.write(packet.head, packet.headLength, packet.parts, packet.partCount);
    if (result === 0) {
      counters.packetsOut++;
      tap?.onWritten(packet);
    } else if (result === -11 /* EAGAIN */ || result === -105 /* ENOBUFS */) {
      counters.full++;
      return false;
    } else {
      counters.writeErrors++; // like a packet lost on the way: the stack sends it again
    }
    return true;
  };

  const arm = (now: number): void => {
    const at = stack.pollAt();
    if (at === undefined) return;
    const due = Math.max(at, now + fullRetryMs);
    if (timer !== undefined && timerAt <= due) return; // an early wake-up costs less than a new timer
    clearTimeout(timer);
    timerAt = due;
    timer = setTimeout(onTimer, due - now);
  };

  const service = (): void => {
    kicks = 0;
    if (!isOpen) return;
    const now = performance.now();
    stack.dispatch(now, emit);
    arm(now);
  };

  const onKicks = (): void => {
    if (kicks > 0) service();
  };

  const onTimer = (): void => {
    timer = undefined;
    timerAt = Number.POSITIVE_INFINITY;
    service();
  };

  const onBatch = (count: number): void => {
    const now = performance.now();
    counters.packetsIn += count;
    for (let i = 0; i < count; i++) {
      const length = lengths[i] ?? 0;
      tap?.onRead(ring, i * slotSize, length);
      stack.process(ring, i * slotSize, length, now);
    }
    setImmediate(service);
  };

  const device = tunTap.open({fd, ring, slotSize, lengths, onBatch});
  const stack = createStack(takesGso(device));
  loopbackUdp?.start(
    (frame, offset, length) => stack.process(frame, offset, length, performance.now()),
    service,
  );

  return {
    stack,
    counters,
    kick() {
      kicks++;
      if (kicks === 1) setImmediate(onKicks);
      else if (kicks === kicksPerDispatch) queueMicrotask(service);
    },
    crowd() {
      if (isCrowded) return;
      isCrowded = true;
      counters.crowded++;
      device.pause(true);
      setTimeout(() => {
        isCrowded = false;
        device.pause(false);
      }, crowdedMs);
    },
    [Symbol.dispose]() {
      isOpen = false;
      clearTimeout(timer);
      device[Symbol.dispose]();
      loopbackUdp?.[Symbol.dispose]();
      stack[Symbol.dispose]();
    },
  };
}
