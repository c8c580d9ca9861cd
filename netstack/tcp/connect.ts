/**
 * The beginning of a connection that we open into the namespace, in the name of the true client, whose
 * address and port it comes from: the active opener of RFC 9293.
 *
 *     connect ──SYN──► SYN-SENT ──SYN-ACK──► ESTABLISHED
 *                         │ RST: refused; silence: repeated after 0.2, 0.6, 1.4, 3 … s, then given up
 *
 * A listener whose backlog is full drops the SYN in silence, and may drop the ACK that ends the
 * handshake too: the former is repeated by timer, the latter whenever the SYN-ACK is (`process.ts`
 * challenges it).
 *
 * Clients reuse their ports, and a kernel takes a SYN for a connection that is in TIME-WAIT on its side
 * only if it stands above the last number of that one. The ISN's clock promises this as long as no
 * connection sends faster than it ticks, 250 bytes a µs. So `IsnClock` is set forward by as much
 * as any connection has outrun it: one number stands for the memory of all.
 *
 * Departures: a bare SYN in SYN-SENT is no simultaneous open (RFC 9293 MUST-10) but the program's
 * own connect by these addresses, which goes first. Text in a SYN-ACK is left for its sender to repeat.
 */
import type {FlowKey} from '../flow-table.ts';
import type {HashKey} from '../hash.ts';
import type {ConnectErrno, Endpoint, IpAddress} from '../types.ts';
import {createPath, PROTOCOL_TCP} from '../wire/ip.ts';
import {octets} from '../wire/octets.ts';
import {ACK, parseSynOptions, RST, SYN} from '../wire/tcp.ts';
import {agreedMss, mssFor} from './handshake.ts';
import type {Segment, TcpHost} from './host.ts';
import {initialSequence} from './isn.ts';
import {seqAdd, seqDiff} from './seq.ts';
import {createTcb, NEVER, type Tcb} from './tcb.ts';
import {takeSample} from './timers.ts';
import {WINDOW_SHIFT} from './window.ts';

/** The first wait for the SYN-ACK, ms: nothing but the kernel's own work is between us and it. */
const SYN_RTO_MS = 200;
/** Where the handshake gave no sample (RFC 6298, section 2.1). */
const UNMEASURED_RTO_MS = 1_000;

/** The clock that ISNs of our own connects are taken from. */
export class IsnClock {
  readonly #secret: HashKey;
  /** By how much it has been set forward, in sequence numbers. */
  #ahead = 0;

  constructor(secret: HashKey) {
    this.#secret = secret;
  }

  /** The ISN for the addresses and ports of `key` at `now`, ms. */
  next(key: FlowKey, now: number): number {
    return seqAdd(initialSequence(this.#secret, key, now), this.#ahead);
  }

  /** A connection of `key` is over, at `sndNxt`: no later one of it begins below. */
  leave({key, sndNxt}: Tcb, now: number): void {
    const outrun = seqDiff(sndNxt, this.next(key, now)) + 1;
    if (outrun > 0) {
      this.#ahead = seqAdd(this.#ahead, outrun);
    }
  }
}

/** Fills in the key under which segments of the program will be looked up. */
export function fillConnectKey(key: FlowKey, program: Endpoint, client: Endpoint): void {
  const source = words(program.address);
  const destination = words(client.address);
  key.version = program.address.length === 4 ? 4 : 6;
  [key.source0, key.source1, key.source2, key.source3] = source;
  [key.destination0, key.destination1, key.destination2, key.destination3] = destination;
  key.ports = (program.port << 16) | client.port;
}

function words(address: IpAddress): [number, number, number, number] {
  const {view} = octets(address.slice());
  if (address.length === 4) {
    return [0, 0, 0, view.getInt32(0)];
  }
  return [view.getInt32(0), view.getInt32(4), view.getInt32(8), view.getInt32(12)];
}

/** Makes the block of a connection from `client` to `program`; its SYN is due. */
export function openSynSent(program: Endpoint, client: Endpoint, mtu: number): Tcb {
  const path = createPath(PROTOCOL_TCP, client.address.slice(), program.address.slice());
  const tcb = createTcb(path, program.port, client.port);
  fillConnectKey(tcb.key, program, client);
  tcb.state = 'SYN-SENT';
  tcb.isActive = true;
  tcb.rcvMss = mssFor(mtu, path.version);
  tcb.rcvShift = WINDOW_SHIFT;
  tcb.rtoMs = SYN_RTO_MS;
  tcb.synDue = true;
  return tcb;
}

/** Whether a connection between these two can be at all. */
export function isConnectable(client: Endpoint, program: Endpoint): boolean {
  const isSameAddress = client.address.every((byte, at) => byte === program.address[at]);
  return (
    client.address.length === program.address.length &&
    client.port > 0 &&
    program.port > 0 &&
    !(isSameAddress && client.port === program.port)
  );
}

/** Ends a connect that came to nothing; the handler may begin another one. */
export function failConnect(host: TcpHost, tcb: Tcb, errno: ConnectErrno): void {
  const handler = tcb.flow?.handler;
  host.counters.connectsFailed += 1;
  host.remove(tcb);
  handler?.onRefused?.(errno);
}

/** RFC 9293, section 3.10.7.3. True: the segment, a SYN, may open a connection of the program's. */
export function processSynSent(host: TcpHost, tcb: Tcb, segment: Segment, now: number): boolean {
  const {flags} = segment;
  const isAcked = (flags & ACK) !== 0;
  if (isAcked && (segment.ack !== tcb.sndNxt || tcb.sndNxt === tcb.iss)) {
    // Of an earlier life of these ports: the RST that it draws ends it, and the SYN is repeated.
    host.counters.unacceptable += 1;
    host.strayed(segment);
    return false;
  }
  if (flags & RST) {
    // RFC 5961, section 3.2: in SYN-SENT a RST is believed if it acknowledges the SYN.
    if (isAcked) {
      failConnect(host, tcb, 'ECONNREFUSED');
    }
    return false;
  }
  if ((flags & SYN) === 0) {
    return false;
  }
  if (!isAcked) {
    failConnect(host, tcb, 'EADDRINUSE');
    return true;
  }
  establish(host, tcb, segment, now);
  return false;
}

function establish(host: TcpHost, tcb: Tcb, segment: Segment, now: number): void {
  const {frame, optionsAt, textAt} = segment;
  const options = parseSynOptions(frame, optionsAt, textAt);
  // RFC 7323, section 2.2: only if both ends say so. A kernel under SYN flood may not.
  tcb.sndShift = options.windowScale ?? 0;
  tcb.rcvShift = options.windowScale === undefined ? 0 : WINDOW_SHIFT;
  tcb.mss = agreedMss(tcb, options.mss);
  tcb.irs = segment.seq;
  tcb.rcvNxt = seqAdd(segment.seq, 1);
  tcb.sndUna = segment.ack;
  // The window of a SYN-ACK is never scaled.
  tcb.sndWnd = segment.window;
  tcb.maxSndWnd = segment.window;
  tcb.sndWl1 = segment.seq;
  tcb.sndWl2 = segment.ack;
  tcb.state = 'ESTABLISHED';
  tcb.rtoMs = UNMEASURED_RTO_MS;
  takeSample(tcb, segment.ack, now);
  tcb.synDue = false;
  tcb.tries = 0;
  tcb.retransmitAt = NEVER;
  tcb.ackDue = true;
  host.counters.tcpEstablished += 1;
  host.mark(tcb);
  tcb.flow?.handler?.onConnected?.();
}
