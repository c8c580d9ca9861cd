/**
 * UDP: the table of flows, one for each source address and port of the sandbox.
 *
 * Theory of operation. The first datagram of a source opens a flow; the layer gives it a socket at
 * the agent. All datagrams of the source go there, whatever their destination, and replies come back
 * from their true sender: a connected socket of the program ignores a stranger's by itself. Idle
 * flows are forgotten (DNS after 15 s, unanswered ones after 60 s, others after 5 min), and when
 * there are too many, the least recently used one. Deadlines are lazy: a datagram only notes the
 * time, and the flow's deadline is moved when it comes.
 *
 * Errors are ICMP errors about a rebuilt datagram: a connected socket reports them, an unconnected
 * one does not, in the pod as here. An error from the program's kernel means that nobody listens on
 * the source any more, if it concerns the last peer: a stranger's datagram to a connected socket
 * draws the same error.
 *
 * A super-packet (USO) is a run of datagrams behind one header: each is handed over by itself.
 */
import {createFlowKey, FlowTable, setPorts, setSource} from '../flow-table.ts';
import {icmpForUdpErrno} from '../icmp/errno.ts';
import {buildIcmpError, rebuildOffender} from '../icmp/message.ts';
import type {RateLimit} from '../icmp/rate-limit.ts';
import type {Shared} from '../shared.ts';
import {TimerHeap} from '../timer-heap.ts';
import type {Emit, Endpoint, Errno} from '../types.ts';
import {fold, sumWords} from '../wire/checksum.ts';
import {
  copyDestination,
  copySource,
  createPath,
  type IpHeader,
  isGroupDestination,
  PROTOCOL_UDP,
} from '../wire/ip.ts';
import {type Octets, octets} from '../wire/octets.ts';
import {createUdpHeader, emitUdp, parseUdp, UDP_LENGTH} from '../wire/udp.ts';
import {type UdpHost, UdpSocket} from './flow.ts';
import {LruList} from './lru.ts';
import {UdpSendQueue} from './send.ts';

/** How a datagram came. */
export interface UdpArrival {
  /** Its checksum need not be verified. */
  readonly isTrusted: boolean;
  /** Payload bytes of each datagram of a super-packet; 0: it is one datagram. */
  readonly pieceLength: number;
  readonly now: number;
}

export class Udp implements UdpHost {
  readonly #shared: Shared;
  readonly #rate: RateLimit;
  readonly #table: FlowTable<UdpSocket>;
  readonly #timers = new TimerHeap<UdpSocket>();
  readonly #order = new LruList();
  readonly #queue: UdpSendQueue;
  readonly #key = createFlowKey();
  readonly #header = createUdpHeader();
  #now = 0;

  constructor(shared: Shared, rate: RateLimit) {
    this.#shared = shared;
    this.#rate = rate;
    this.#table = new FlowTable(shared.random);
    this.#queue = new UdpSendQueue(shared);
  }

  /** What is held; of the stack's numbers, those of UDP. */
  usage(): {flows: number; queuedDatagrams: number; queuedBytes: number; timers: number} {
    return {
      flows: this.#table.size,
      queuedDatagrams: this.#queue.size,
      queuedBytes: this.#queue.bytes,
      timers: this.#timers.size,
    };
  }

  /** Takes the datagram, or super-packet, that `ip` carries. */
  process(frame: Octets, ip: IpHeader, arrival: UdpArrival): void {
    const {counters} = this.#shared;
    const header = this.#header;
    if (!parseUdp(frame, ip.payloadAt, ip.payloadLength, header)) {
      counters.malformed += 1;
      return;
    }
    if (!arrival.isTrusted && !isIntact(frame, ip, header)) {
      counters.badChecksum += 1;
      return;
    }
    if (header.destinationPort === 0 || header.sourcePort === 0) {
      counters.malformed += 1;
      return;
    }
    if (isGroupDestination(frame, ip)) {
      counters.groupDestination += 1;
      return;
    }
    this.#now = arrival.now;
    const flow = this.#find(frame, ip);
    if (flow === undefined) {
      return;
    }
    flow.usedAt = arrival.now;
    this.#order.touch(flow);
    const to = this.#destination(flow, frame, ip);
    const start = ip.payloadAt + UDP_LENGTH;
    const end = ip.payloadAt + header.length;
    const step = arrival.pieceLength > 0 ? arrival.pieceLength : end - start;
    let at = start;
    do {
      const next = Math.min(at + step, end);
      flow.handler?.onDatagram(to, frame.bytes.subarray(at, next));
      at = next;
    } while (at < end && flow.isOpen);
  }

  /** The flow of the source, made if there is none. */
  #find(frame: Octets, ip: IpHeader): UdpSocket | undefined {
    setSource(this.#key, frame, ip);
    setPorts(this.#key, this.#header.sourcePort, 0);
    return this.#table.get(this.#key) ?? this.#open(frame, ip);
  }

  #open(frame: Octets, ip: IpHeader): UdpSocket | undefined {
    const {counters, limits, handler} = this.#shared;
    const {oldest} = this.#order;
    if (this.#table.size >= limits.udpFlows && oldest !== undefined) {
      counters.udpEvicted += 1;
      this.#retire(oldest);
    }
    const source = {address: copySource(frame, ip), port: this.#header.sourcePort};
    const flow = new UdpSocket(this, source);
    setSource(flow.key, frame, ip);
    setPorts(flow.key, source.port, 0);
    flow.usedAt = this.#now;
    flow.lastTo = {address: copyDestination(frame, ip), port: this.#header.destinationPort};
    this.#table.add(flow);
    this.#order.add(flow);
    this.#timers.set(flow, flow.idleAt);
    counters.udpOpened += 1;
    handler.onUdp(flow);
    if (flow.isOpen && flow.handler === undefined) {
      this.remove(flow);
    }
    return flow.isOpen ? flow : undefined;
  }

  /** The destination as an object that may be kept: the same one as long as it stays the same. */
  #destination(flow: UdpSocket, frame: Octets, ip: IpHeader): Endpoint {
    const port = this.#header.destinationPort;
    const last = flow.lastTo;
    if (last !== undefined && last.port === port && isAt(frame, ip.destinationAt, last.address)) {
      return last;
    }
    flow.lastTo = {address: copyDestination(frame, ip), port};
    // DNS has the shorter time: what was a DNS flow may now stay longer, and the other way round.
    this.#timers.set(flow, flow.idleAt);
    return flow.lastTo;
  }

  send(flow: UdpSocket, from: Endpoint, payload: Uint8Array): void {
    if (this.#queue.push(flow, from, payload)) {
      flow.hasReplied = true;
      flow.usedAt = this.#now;
      this.#order.touch(flow);
    }
  }

  fail(flow: UdpSocket, to: Endpoint, {errno, mtu}: {errno: Errno; mtu: number | undefined}): void {
    const version = flow.source.address.length === 4 ? 4 : 6;
    const icmp = icmpForUdpErrno(errno, version, mtu);
    if (icmp === undefined || to.address.length !== flow.source.address.length) {
      return;
    }
    if (!this.#rate.take(this.#now)) {
      this.#shared.counters.icmpRateLimit += 1;
      return;
    }
    const header = octets(new Uint8Array(UDP_LENGTH));
    emitUdp(header, 0, {
      sourcePort: flow.source.port,
      destinationPort: to.port,
      length: UDP_LENGTH,
      checksum: 0,
    });
    const path = createPath(PROTOCOL_UDP, flow.source.address, to.address);
    const message = {...icmp, from: to.address, to: flow.source.address};
    this.#shared.control.push(buildIcmpError(message, rebuildOffender(path, header.bytes)));
  }

  /** The program's kernel refuses a datagram of ours: `ip` describes what it embeds of it. */
  unreachable(frame: Octets, ip: IpHeader): void {
    const {view} = frame;
    const fromPort = view.getUint16(ip.payloadAt);
    const port = view.getUint16(ip.payloadAt + 2);
    const embedded = {...ip, sourceAt: ip.destinationAt};
    setSource(this.#key, frame, embedded);
    setPorts(this.#key, port, 0);
    const flow = this.#table.get(this.#key);
    const last = flow?.lastTo;
    if (flow === undefined || last === undefined || last.port !== fromPort) {
      return;
    }
    if (isAt(frame, ip.sourceAt, last.address)) {
      this.#shared.counters.udpUnreachable += 1;
      this.#retire(flow);
    }
  }

  remove(flow: UdpSocket): void {
    if (this.#table.delete(flow)) {
      flow.isOpen = false;
      this.#order.delete(flow);
      this.#timers.delete(flow);
    }
  }

  #retire(flow: UdpSocket): void {
    const {handler} = flow;
    this.remove(flow);
    handler?.onClose();
  }

  /** Sends what is queued and forgets what is idle; false: the device is full. */
  dispatch(now: number, emit: Emit): boolean {
    this.#now = now;
    for (let flow = this.#timers.first; flow !== undefined; flow = this.#timers.first) {
      if (flow.timerAt > now) {
        break;
      }
      if (flow.idleAt <= now) {
        this.#retire(flow);
      } else {
        this.#timers.set(flow, flow.idleAt);
      }
    }
    return this.#queue.dispatch(emit);
  }

  /** When to look for idle flows; −Infinity: something waits to be sent. */
  pollAt(): number {
    if (this.#queue.size > 0) {
      return Number.NEGATIVE_INFINITY;
    }
    return this.#timers.first?.timerAt ?? Number.POSITIVE_INFINITY;
  }

  /** Forgets all flows. Calls no handler. */
  clear(): void {
    for (const flow of this.#table) {
      flow.isOpen = false;
    }
    this.#table.clear();
    this.#timers.clear();
    this.#order.clear();
    this.#queue.clear();
  }
}

function isAt({bytes}: Octets, at: number, address: Uint8Array): boolean {
  for (let index = 0; index < address.length; index += 1) {
    if (bytes[at + index] !== address[index]) {
      return false;
    }
  }
  return true;
}

function isIntact(
  frame: Octets,
  ip: IpHeader,
  header: {length: number; checksum: number},
): boolean {
  if (header.checksum === 0) {
    // RFC 768: not computed. RFC 8200, section 8.1: not allowed in IPv6.
    return ip.version === 4;
  }
  const addresses = ip.version === 4 ? 8 : 32;
  const pseudo = sumWords(frame, ip.sourceAt, addresses) + ip.protocol + header.length;
  return fold(pseudo + sumWords(frame, ip.payloadAt, header.length)) === 0xffff;
}
