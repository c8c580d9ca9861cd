/**
 * The beginning of a connection that a program opens. A SYN is answered only once the agent has
 * connected, so `connect()` in the sandbox succeeds, fails and waits as it would in the pod:
 *
 *     SYN ──► PENDING ──accept──► SYN-RECEIVED ──ACK──► ESTABLISHED
 *                │ refuse(errno)                 until then the program may give up: it sends
 *                └──► RST or ICMP error          nothing, but our SYN-ACK draws its RST
 */
import {type FlowKey, setDestination, setPorts, setSource} from '../flow-table.ts';
import type {HashKey} from '../hash.ts';
import {copyDestination, copySource, createPath, type IpHeader, PROTOCOL_TCP} from '../wire/ip.ts';
import type {Octets} from '../wire/octets.ts';
import {parseSynOptions, TCP_LENGTH, type TcpHeader} from '../wire/tcp.ts';
import {initialSequence} from './isn.ts';
import {seqAdd} from './seq.ts';
import {createTcb, NEVER, type Tcb} from './tcb.ts';
import {WINDOW_SHIFT} from './window.ts';

/** Reads the addresses and ports of a packet into `key`. */
export function fillKey(key: FlowKey, frame: Octets, ip: IpHeader, tcp: TcpHeader): void {
  setSource(key, frame, ip);
  setDestination(key, frame, ip);
  setPorts(key, tcp.sourcePort, tcp.destinationPort);
}

/** RFC 9293 MUST-15: what a peer takes that does not say (IPv6: 1280 − 60). */
const DEFAULT_MSS_V4 = 536;
const DEFAULT_MSS_V6 = 1220;
/** Less is a mistake or an attack (Linux TCP_MIN_MSS). */
const MIN_MSS = 88;

/** Our MSS for a device of that MTU: RFC 9293, section 3.7.1, MUST-67. */
export function mssFor(mtu: number, version: 4 | 6): number {
  return mtu - (version === 4 ? 20 : 40) - TCP_LENGTH;
}

/** What may be sent in one segment to a peer that announces `mss`. Needs `rcvMss`. */
export function agreedMss({path, rcvMss}: Tcb, mss: number | undefined): number {
  const announced = mss ?? (path.version === 4 ? DEFAULT_MSS_V4 : DEFAULT_MSS_V6);
  return Math.min(Math.max(announced, MIN_MSS), rcvMss);
}

/**
 * Makes the block of a connection from its SYN. Text in the SYN (TCP fast open) is not taken, only
 * the SYN acknowledged: the program's kernel sends it again.
 */
export function openPending(frame: Octets, ip: IpHeader, tcp: TcpHeader, mtu: number): Tcb {
  const path = createPath(PROTOCOL_TCP, copyDestination(frame, ip), copySource(frame, ip));
  const tcb = createTcb(path, tcp.sourcePort, tcp.destinationPort);
  fillKey(tcb.key, frame, ip, tcp);
  tcb.irs = tcp.seq;
  tcb.rcvNxt = seqAdd(tcp.seq, 1);
  const {payloadAt} = ip;
  const options = parseSynOptions(frame, payloadAt + TCP_LENGTH, payloadAt + tcp.headerLength);
  if (options.windowScale !== undefined) {
    // RFC 7323, section 2.2: only if both ends say so.
    tcb.sndShift = options.windowScale;
    tcb.rcvShift = WINDOW_SHIFT;
  }
  tcb.rcvMss = mssFor(mtu, ip.version);
  tcb.mss = agreedMss(tcb, options.mss);
  return tcb;
}

/** The agent has connected: the SYN-ACK is due. */
export function acceptPending(
  tcb: Tcb,
  receiveLimit: number,
  {secret, now}: {secret: HashKey; now: number},
): void {
  tcb.state = 'SYN-RECEIVED';
  tcb.iss = initialSequence(secret, tcb.key, now);
  tcb.sndUna = tcb.iss;
  tcb.sndNxt = tcb.iss;
  tcb.receiveLimit = receiveLimit;
  tcb.maxRcvWnd = receiveLimit;
  tcb.synDue = true;
  tcb.expireAt = NEVER;
}
