/**
 * The transmission control block: all that is known of one TCP connection. A plain structure, so
 * that a test can put a connection into any state. Who changes what:
 *
 *     handshake.ts   SYN, accept, refuse            window.ts     the window we advertise
 *     connect.ts     our own SYN, and its answer
 *     process.ts     a segment comes in             timers.ts     RTT, RTO, deadlines
 *     acknowledge.ts its ACK and window             dispatch.ts   segments go out
 *     receive.ts     its text and FIN               tcp.ts        the table of all connections
 *
 * Variables bear the names of RFC 9293, section 3.3.1, camel-cased. Sequence numbers (iss, sndUna,
 * sndNxt, irs, rcvNxt …) are unsigned 32-bit and only `seq.ts` computes with them; stream offsets
 * (received, advertised, receiveLimit, finOffset, and all of `queue`) are absolute: the first byte
 * of a direction is 0, SYN and FIN do not count, and they do not wrap below 2^53.
 */
import {createFlowKey, type FlowKey, type Keyed} from '../flow-table.ts';
import type {Timed} from '../timer-heap.ts';
import type {Errno, TcpConnection} from '../types.ts';
import type {Path} from '../wire/ip.ts';
import type {Assembler} from './assembler.ts';
import {SendQueue} from './send-queue.ts';
import {UNBOUNDED, type WindowShare} from './window.ts';

/**
 * RFC 9293's states, and `PENDING`: a SYN has come, the agent is dialing, nothing was sent. LISTEN
 * is what any address and port without a connection does; CLOSED connections are in no table.
 */
export type TcpState =
  | 'PENDING'
  | 'SYN-SENT'
  | 'SYN-RECEIVED'
  | 'ESTABLISHED'
  | 'FIN-WAIT-1'
  | 'FIN-WAIT-2'
  | 'CLOSE-WAIT'
  | 'CLOSING'
  | 'LAST-ACK'
  | 'TIME-WAIT'
  | 'CLOSED';

/** How a connection ends before its time: by RST after what fits, or by the sign of an errno. */
export type Abort = 'reset' | Errno;

export const NEVER = Number.POSITIVE_INFINITY;

export interface Tcb extends Keyed, Timed {
  readonly key: FlowKey;
  state: TcpState;
  /** The layer's view of the connection. undefined: nobody cares any more. */
  flow: TcpConnection | undefined;
  /** We are the active opener. */
  isActive: boolean;
  /** Addresses of what we send: to the program. */
  readonly path: Path;
  /** The program's port. */
  readonly sourcePort: number;
  /** The port of the other end. */
  readonly destinationPort: number;
  /** Set when the connection is to be ended; `dispatch` does it. */
  abort: Abort | undefined;
  /** In the list of connections that have something to dispatch. */
  dirty: boolean;

  /** ISS: our initial sequence number. */
  iss: number;
  /** SND.UNA: the oldest sequence number not acknowledged. */
  sndUna: number;
  /** SND.NXT: the next sequence number to send. Never goes back: see `retransmit`. */
  sndNxt: number;
  /** SND.WND: the peer's window, in bytes. */
  sndWnd: number;
  /** SND.WL1: the sequence number of the segment that last updated the window. */
  sndWl1: number;
  /** SND.WL2: its acknowledgment number. */
  sndWl2: number;
  /** Snd.Wind.Shift (RFC 7323): how far the peer's window fields are to be shifted. */
  sndShift: number;
  /** The largest window ever seen, in bytes: for the SWS rule of RFC 9293, section 3.8.6.2.1. */
  maxSndWnd: number;
  /** Eff.snd.MSS: payload bytes of a segment that the peer takes. */
  mss: number;
  /** What the layer has written and the peer has not acknowledged. */
  readonly queue: SendQueue;
  /** The layer has called `end`: a FIN follows the queue. */
  finQueued: boolean;
  /** The FIN has been sent: it is the last sequence number before SND.NXT. */
  finSent: boolean;
  /** The SYN-ACK, in SYN-SENT the SYN, is to be sent, or sent again. */
  synDue: boolean;

  /** IRS: the peer's initial sequence number. */
  irs: number;
  /** RCV.NXT: the next sequence number expected. */
  rcvNxt: number;
  /** Bytes received in order and handed over: the stream offset of RCV.NXT until the FIN. */
  received: number;
  /** The highest stream offset that we have ever advertised: RCV.NXT + RCV.WND. Only grows. */
  advertised: number;
  /** What the window may be, whatever the credit. */
  windowShare: WindowShare;
  /** How far the layer lets the peer send, as a stream offset. Only grows. */
  receiveLimit: number;
  /** The largest window ever offered, in bytes: the unit of the receiver's SWS rule. */
  maxRcvWnd: number;
  /** Rcv.Wind.Shift: by how much our window fields are shifted. 0 unless both ends scale. */
  rcvShift: number;
  /** Our MSS: what we told the peer. */
  rcvMss: number;
  /** Data that came before its turn. Made when it is needed. */
  assembler: Assembler | undefined;
  /** The stream offset of the peer's FIN, once seen. */
  finOffset: number | undefined;
  /** The FIN has been reached: RCV.NXT is past it. */
  finReceived: boolean;

  /** An ACK is owed. */
  ackDue: boolean;
  /** Duplicate ACKs are owed for segments out of order: RFC 5681, section 4.2. */
  dupAcksDue: number;
  /** When the last challenge ACK was allowed: ms. */
  challengedAt: number;

  /** Smoothed round-trip time, ms; undefined before the first sample (RFC 6298). */
  srtt: number | undefined;
  /** Its variation, ms. */
  rttvar: number;
  /** The retransmission timeout before back-off, ms. */
  rtoMs: number;
  /** How often the timer has expired since the last progress. */
  tries: number;
  /** When the first of these tries began: ms. */
  stuckSince: number;
  /** The sequence number whose ACK ends the current RTT sample; undefined: none is taken. */
  rttSeq: number | undefined;
  /** When that sample began: ms. */
  rttStart: number;
  /** Duplicate ACKs in a row. */
  dupAcks: number;
  /** SND.NXT when loss was found; until it is acknowledged, partial ACKs resend (RFC 6582). */
  recover: number | undefined;
  /** The segment at SND.UNA is to be sent again. */
  retransmit: boolean;
  /** A window probe is to be sent. */
  probe: boolean;
  /** A segment shorter than SWS avoidance likes may go: its timer has expired. */
  override: boolean;
  /** How often the window has been probed without opening. */
  probes: number;

  /** The retransmission deadline, ms. */
  retransmitAt: number;
  /** The persist or SWS override deadline, ms. */
  probeAt: number;
  /** When a dial, or a tombstone, is given up: ms. */
  expireAt: number;
}

/** RFC 6298, section 2.1. */
const INITIAL_RTO_MS = 1_000;

/** A new block in state PENDING: nothing known, nothing sent. */
export function createTcb(path: Path, sourcePort: number, destinationPort: number): Tcb {
  return {
    key: createFlowKey(),
    hash: 0,
    next: undefined,
    timerAt: NEVER,
    timerIndex: -1,
    state: 'PENDING',
    flow: undefined,
    isActive: false,
    path,
    sourcePort,
    destinationPort,
    abort: undefined,
    dirty: false,
    iss: 0,
    sndUna: 0,
    sndNxt: 0,
    sndWnd: 0,
    sndWl1: 0,
    sndWl2: 0,
    sndShift: 0,
    maxSndWnd: 0,
    mss: 536,
    queue: new SendQueue(),
    finQueued: false,
    finSent: false,
    synDue: false,
    irs: 0,
    rcvNxt: 0,
    received: 0,
    advertised: 0,
    windowShare: UNBOUNDED,
    receiveLimit: 0,
    maxRcvWnd: 0,
    rcvShift: 0,
    rcvMss: 536,
    assembler: undefined,
    finOffset: undefined,
    finReceived: false,
    ackDue: false,
    dupAcksDue: 0,
    challengedAt: Number.NEGATIVE_INFINITY,
    srtt: undefined,
    rttvar: 0,
    rtoMs: INITIAL_RTO_MS,
    tries: 0,
    stuckSince: 0,
    rttSeq: undefined,
    rttStart: 0,
    dupAcks: 0,
    recover: undefined,
    retransmit: false,
    probe: false,
    override: false,
    probes: 0,
    retransmitAt: NEVER,
    probeAt: NEVER,
    expireAt: NEVER,
  };
}

/** Whether the three-way handshake is complete and the connection not yet a tombstone. */
export function isSynchronized(tcb: Tcb): boolean {
  return (
    tcb.state !== 'PENDING' &&
    tcb.state !== 'SYN-SENT' &&
    tcb.state !== 'SYN-RECEIVED' &&
    tcb.state !== 'TIME-WAIT' &&
    tcb.state !== 'CLOSED'
  );
}
