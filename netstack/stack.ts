/**
 * The stack: packets of one TUN device in, flows out, and back. Sans-IO: the driver calls
 *
 *     process(frame, …)   for each packet that it has read,
 *     dispatch(now, emit) after each batch, after each burst of verbs called on flows, when the
 *                         device can be written to again, and when the time is `pollAt()`,
 *
 * with one monotonic clock in ms. `process` calls the handlers and marks flows; only `dispatch`
 * writes, so a batch of packets draws one answer per flow. Handlers are called from both and may
 * call any verb of any flow; they must not call `process` or `dispatch`.
 *
 * No input makes it throw: what makes no sense is counted and dropped. All memory is bounded, by
 * `limits.ts` and by the credit that the layer grants.
 */
import {AddressSet} from './address-set.ts';
import {ControlQueue} from './control-queue.ts';
import {type Counters, createCounters} from './counters.ts';
import {Icmp} from './icmp/icmp.ts';
import {RateLimit} from './icmp/rate-limit.ts';
import {DEFAULT_LIMITS, type Limits} from './limits.ts';
import {PacketWriter} from './packet-writer.ts';
import {Reassembly} from './reassembly.ts';
import type {Shared} from './shared.ts';
import {Tcp} from './tcp/tcp.ts';
import type {
  ConnectErrno,
  Echo,
  Emit,
  Endpoint,
  IpAddress,
  StackHandler,
  TcpConnection,
  TcpHandler,
} from './types.ts';
import {Udp} from './udp/udp.ts';
import type {Usage} from './usage.ts';
import {UNREACHABLE, V6_PARAMETER_PROBLEM} from './wire/icmp.ts';
import {
  createIpHeader,
  isGroupDestination,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
} from './wire/ip.ts';
import {parseIp} from './wire/ip-packet.ts';
import {type Octets, octets} from './wire/octets.ts';
import {
  createVirtio,
  DATA_VALID,
  GSO_UDP_L4,
  NEEDS_CSUM,
  parseVirtio,
  VIRTIO_LENGTH,
} from './wire/virtio.ts';

export interface StackOptions {
  /** The MTU of the device, bytes. Our MSS is made from it. */
  readonly mtu: number;
  /** The addresses of the namespace: packets from any other are dropped. */
  readonly addresses: readonly IpAddress[];
  /** Random numbers in [0, 1): for sequence numbers and the secrets of hashes. */
  readonly random: () => number;
  /** Whether the kernel takes GSO packets. If not, they are plain packets larger than the MTU. */
  readonly gso: boolean;
  /**
   * What the windows of all connections may be together, bytes: where the device has no TSO, half of what
   * its queue holds in packets of the MTU. By default there is no bound but the credit.
   */
  readonly windowBudget?: number;
  readonly limits?: Partial<Limits>;
}

const PROTOCOL_UNREACHABLE = 2;

export class Stack implements Disposable {
  /** What was seen and dropped, and why. */
  readonly counters: Counters = createCounters();
  readonly #addresses: AddressSet;
  readonly #writer: PacketWriter;
  readonly #control: ControlQueue;
  readonly #reassembly: Reassembly;
  readonly #tcp: Tcp;
  readonly #udp: Udp;
  readonly #icmp: Icmp;
  readonly #virtio = createVirtio();
  readonly #ip = createIpHeader();
  #frame: Octets = octets(new Uint8Array(0));
  #isDisposed = false;

  constructor(options: StackOptions, handler: StackHandler) {
    const limits = {...DEFAULT_LIMITS, ...options.limits};
    const {counters} = this;
    this.#addresses = new AddressSet(options.addresses);
    this.#writer = new PacketWriter(counters, options.gso);
    this.#control = new ControlQueue(counters, limits);
    this.#reassembly = new Reassembly(counters, limits);
    const {mtu, random, windowBudget = Number.POSITIVE_INFINITY} = options;
    const shared: Shared = {
      counters,
      limits,
      mtu,
      windowBudget,
      random,
      handler,
      writer: this.#writer,
      control: this.#control,
    };
    const rate = new RateLimit(limits.icmpPerSecond, limits.icmpBurst);
    this.#tcp = new Tcp(shared);
    this.#udp = new Udp(shared, rate);
    this.#icmp = new Icmp(shared, rate, this.#udp);
  }

  /**
   * Takes one packet as read from the device: `length` bytes of `frame` from `offset`, beginning
   * with the virtio_net_hdr. Handlers get views of `frame`; it may be reused when this returns.
   */
  process(frame: Uint8Array, offset: number, length: number, now: number): void {
    if (this.#isDisposed) {
      return;
    }
    this.counters.framesIn += 1;
    if (offset < 0 || length <= VIRTIO_LENGTH || offset + length > frame.length) {
      this.counters.malformed += 1;
      return;
    }
    if (this.#frame.bytes !== frame) {
      this.#frame = octets(frame);
    }
    parseVirtio(this.#frame, offset, this.#virtio);
    const ip = this.#ip;
    ip.start = offset + VIRTIO_LENGTH;
    ip.end = offset + length;
    this.#processIp(this.#frame, now);
  }

  #processIp(frame: Octets, now: number): void {
    const ip = this.#ip;
    const verdict = parseIp(frame, ip);
    if (verdict === 'malformed' || verdict === 'checksum') {
      this.counters[verdict === 'checksum' ? 'badChecksum' : 'malformed'] += 1;
      return;
    }
    if (!this.#addresses.hasSource(frame, ip)) {
      this.counters.foreignSource += 1;
      return;
    }
    if (verdict !== 'ok') {
      this.counters.unknownProtocol += 1;
      const code = verdict === 'unknown-header' ? 1 : 0;
      ip.payloadLength = 0;
      this.#icmp.complain(frame, ip, {type: V6_PARAMETER_PROBLEM, code, rest: ip.pointer, now});
      return;
    }
    if (ip.isFragment) {
      this.#processFragment(frame, now);
      return;
    }
    this.#processTransport(frame, now);
  }

  #processFragment(frame: Octets, now: number): void {
    const whole = this.#reassembly.add(frame, this.#ip, now);
    if (whole === undefined) {
      return;
    }
    // Fragments come with complete checksums: the virtio header of the last one says nothing.
    this.#virtio.flags = 0;
    this.#virtio.gsoType = 0;
    this.#ip.start = 0;
    this.#ip.end = whole.bytes.length;
    this.#processIp(whole, now);
  }

  #processTransport(frame: Octets, now: number): void {
    const ip = this.#ip;
    const {flags, gsoType, gsoSize} = this.#virtio;
    const isTrusted = (flags & (NEEDS_CSUM | DATA_VALID)) !== 0;
    switch (ip.protocol) {
      case PROTOCOL_TCP:
        this.#tcp.process(frame, ip, {isTrusted, now});
        return;
      case PROTOCOL_UDP: {
        const pieceLength = gsoType === GSO_UDP_L4 ? gsoSize : 0;
        this.#udp.process(frame, ip, {isTrusted, pieceLength, now});
        return;
      }
      case PROTOCOL_ICMP:
      case PROTOCOL_ICMPV6:
        if ((ip.protocol === PROTOCOL_ICMP) === (ip.version === 4)) {
          this.#icmp.process(frame, ip);
          return;
        }
        break;
      default:
        break;
    }
    this.#onUnknownProtocol(frame, now);
  }

  #onUnknownProtocol(frame: Octets, now: number): void {
    const ip = this.#ip;
    if (isGroupDestination(frame, ip)) {
      this.counters.groupDestination += 1;
      return;
    }
    this.counters.unknownProtocol += 1;
    if (ip.version === 4) {
      // RFC 1122, section 3.2.2.1.
      this.#icmp.complain(frame, ip, {type: UNREACHABLE, code: PROTOCOL_UNREACHABLE, rest: 0, now});
    }
  }

  /**
   * Sends all that is due at `now`, and lets expired deadlines act. Stops when `emit` returns false;
   * call it again when the device has room.
   */
  dispatch(now: number, emit: Emit): void {
    if (this.#isDisposed) {
      return;
    }
    this.#reassembly.expire(now);
    if (this.#control.dispatch(this.#writer, emit) && this.#udp.dispatch(now, emit)) {
      this.#tcp.dispatch(now, emit);
    }
  }

  /**
   * When `dispatch` wants to be called next, ms. A time that is past (also −Infinity): now, something
   * waits. undefined: only after `process`, or after a verb was called on a flow.
   */
  pollAt(): number | undefined {
    if (this.#control.size > 0) {
      return Number.NEGATIVE_INFINITY;
    }
    const at = Math.min(this.#tcp.pollAt(), this.#udp.pollAt(), this.#reassembly.pollAt());
    return at === Number.POSITIVE_INFINITY ? undefined : at;
  }

  /**
   * Opens a connection to a listener of the namespace that comes from `source`, the true client,
   * whatever its address. `grant` at once what the program may send; bytes may be written and the end
   * said before it is connected. Tells by `onConnected` or `onRefused`, never before it returns; an
   * errno instead of a connection: none was begun, and no handler will be called.
   */
  connectTcp(
    source: Endpoint,
    destination: Endpoint,
    handler: TcpHandler,
  ): TcpConnection | ConnectErrno {
    return this.#isDisposed ? 'EMFILE' : this.#tcp.connect(source, destination, handler);
  }

  /** What is held at the moment. */
  usage(): Usage {
    const tcp = this.#tcp.usage();
    const udp = this.#udp.usage();
    return {
      tcpFlows: tcp.flows,
      tcpPending: tcp.pending,
      tcpTombstones: tcp.tombstones,
      tcpOutOfOrderBytes: this.#tcp.outOfOrderBytes,
      udpFlows: udp.flows,
      udpQueuedDatagrams: udp.queuedDatagrams,
      udpQueuedBytes: udp.queuedBytes,
      reassemblyPackets: this.#reassembly.size,
      reassemblyBytes: this.#reassembly.bytes,
      controlPackets: this.#control.size,
      controlBytes: this.#control.bytes,
      timers: tcp.timers + udp.timers,
    };
  }

  /** Answers an echo request with its own source, destination, identifier, sequence and payload. */
  echoReply(echo: Echo): void {
    if (!this.#isDisposed) {
      this.#icmp.reply(echo);
    }
  }

  /** Forgets all flows. Calls no handler and sends nothing: reset the flows first for that. */
  [Symbol.dispose](): void {
    this.#isDisposed = true;
    this.#tcp.clear();
    this.#udp.clear();
    this.#control.clear();
    this.#reassembly.clear();
  }
}
