/**
 * A segment comes in for a connection that exists: RFC 9293, section 3.10.7.4, in its order:
 * sequence number, RST, SYN, ACK, then text and FIN. Nothing is sent here. The connection is marked,
 * and `dispatch` sends one segment for all that a batch of packets asked for.
 *
 * Read RFC 9293 sections 3.4 and 3.10, RFC 5961 (blind attacks: exact RST, challenge ACK) and RFC
 * 7323 section 2 (window scale) before changing this. Where we depart:
 *
 *  - An acceptable segment overlaps the window; RFC 9293 wants one of its ends in it. The rest is cut.
 *  - A segment without text may stand at the right edge, as in Linux: such are the ACKs of a peer
 *    that has filled our window.
 *  - A bare FIN at the right edge is taken: it needs no memory.
 */
import {ACK, FIN, RST, SYN} from '../wire/tcp.ts';
import {acknowledge} from './acknowledge.ts';
import {processSynSent} from './connect.ts';
import type {Segment, TcpHost} from './host.ts';
import {abortByUs, receive} from './receive.ts';
import {seqDiff} from './seq.ts';
import {NEVER, type Tcb} from './tcb.ts';
import {takeSample} from './timers.ts';
import {hasNews} from './window.ts';

/** RFC 5961, section 7, asks for a limit; ten a second per connection are enough for any honest peer. */
const CHALLENGE_INTERVAL_MS = 100;

/**
 * Processes a segment of the connection. True: the connection is gone, and the segment, a SYN, may
 * open another on the same addresses and ports.
 */
export function processSegment(host: TcpHost, tcb: Tcb, segment: Segment, now: number): boolean {
  if (tcb.abort !== undefined && tcb.state !== 'SYN-RECEIVED') {
    // Its RST or ICMP error is on the way.
    return false;
  }
  switch (tcb.state) {
    case 'PENDING':
      return processPending(host, tcb, segment, now);
    case 'SYN-SENT':
      return processSynSent(host, tcb, segment, now);
    case 'SYN-RECEIVED':
      return processSynReceived(host, tcb, segment, now);
    case 'TIME-WAIT':
      return processTimeWait(host, tcb, segment, now);
    case 'CLOSED':
      return false;
    default:
      processSynchronized(host, tcb, segment, now);
      return false;
  }
}

/** The peer has reset the connection, or begun anew: it is gone. */
function fail(host: TcpHost, tcb: Tcb): void {
  const handler = tcb.flow?.handler;
  // RFC 9293, section 3.10.7.4, step 2: in CLOSING and LAST-ACK a RST is no news, if all bytes have
  // arrived. The peer has acknowledged our FIN, the ACK was lost, and it has forgotten us since.
  const isClosing = tcb.state === 'CLOSING' || tcb.state === 'LAST-ACK';
  const isComplete = isClosing && tcb.queue.acked === tcb.queue.written;
  host.remove(tcb);
  if (isComplete) {
    handler?.onClose();
  } else {
    handler?.onReset('reset');
  }
}

function processPending(host: TcpHost, tcb: Tcb, segment: Segment, now: number): boolean {
  if (segment.flags & RST) {
    // Nothing of ours can have drawn it but the number fits: the program is gone.
    if (segment.seq === tcb.rcvNxt || segment.seq === tcb.irs) {
      fail(host, tcb);
    }
    return false;
  }
  if ((segment.flags & (SYN | ACK)) !== SYN) {
    host.counters.unacceptable += 1;
    return false;
  }
  if (segment.seq === tcb.irs) {
    host.counters.synDuplicates += 1;
    tcb.expireAt = now + host.limits.pendingMs;
    // The deadline has moved: dispatch arms it anew.
    host.mark(tcb);
    return false;
  }
  // The program closed the socket, which sends nothing, and a new one has got its port.
  fail(host, tcb);
  return true;
}

function processSynReceived(host: TcpHost, tcb: Tcb, segment: Segment, now: number): boolean {
  const {flags} = segment;
  if ((flags & (SYN | RST)) === SYN) {
    if (segment.seq === tcb.irs) {
      host.counters.synDuplicates += 1;
      tcb.synDue = true;
      host.mark(tcb);
      return false;
    }
    fail(host, tcb);
    return true;
  }
  if (flags & RST) {
    // Drawn by our SYN-ACK when the program closed its socket during the dial.
    resetBy(host, tcb, segment, now);
    return false;
  }
  if ((flags & ACK) === 0) {
    return false;
  }
  if (segment.ack !== tcb.sndNxt || tcb.sndNxt === tcb.iss) {
    // RFC 9293, section 3.10.7.4: in SYN-RECEIVED an unacceptable ACK draws <SEQ=SEG.ACK><CTL=RST>.
    host.counters.unacceptable += 1;
    host.strayed(segment);
    return false;
  }
  const distance = seqDiff(segment.seq, tcb.rcvNxt);
  if (distance < 0 || distance > tcb.advertised) {
    host.counters.unacceptable += 1;
    challenge(host, tcb, now);
    return false;
  }
  establish(host, tcb, segment, now);
  if (tcb.abort === undefined) {
    processSynchronized(host, tcb, segment, now);
  }
  return false;
}

function establish(host: TcpHost, tcb: Tcb, segment: Segment, now: number): void {
  tcb.state = 'ESTABLISHED';
  tcb.sndUna = segment.ack;
  tcb.sndWnd = segment.window * 2 ** tcb.sndShift;
  tcb.maxSndWnd = tcb.sndWnd;
  tcb.sndWl1 = segment.seq;
  tcb.sndWl2 = segment.ack;
  takeSample(tcb, segment.ack, now);
  tcb.synDue = false;
  tcb.tries = 0;
  tcb.retransmitAt = NEVER;
  host.counters.tcpEstablished += 1;
  // The SYN-ACK could not tell a window above 64 KiB; until it hears of one, the kernel sends
  // segments of half the window at most (tcp_bound_to_half_wnd).
  if (hasNews(tcb)) {
    tcb.ackDue = true;
  }
  host.mark(tcb);
}

function processTimeWait(host: TcpHost, tcb: Tcb, segment: Segment, now: number): boolean {
  const distance = seqDiff(segment.seq, tcb.rcvNxt);
  if (segment.flags & RST) {
    if (distance === 0) {
      host.remove(tcb);
    }
    return false;
  }
  if ((segment.flags & (SYN | ACK)) === SYN && distance > 0) {
    // RFC 9293 MAY-2: the program's kernel has reused the port. RFC 6191.
    host.remove(tcb);
    return true;
  }
  // RFC 9293: the only thing that can arrive is a retransmission of the remote FIN.
  if (segment.flags & FIN) {
    tcb.expireAt = now + host.limits.timeWaitMs;
    tcb.ackDue = true;
    host.mark(tcb);
  } else if (distance < 0 || segment.textLength > 0 || segment.flags & SYN) {
    challenge(host, tcb, now);
  }
  return false;
}

function processSynchronized(host: TcpHost, tcb: Tcb, segment: Segment, now: number): void {
  const {flags} = segment;
  const distance = seqDiff(segment.seq, tcb.rcvNxt);
  if (!isAcceptable(tcb, segment, distance)) {
    onUnacceptable(host, tcb, segment, now);
    return;
  }
  if (flags & RST) {
    resetBy(host, tcb, segment, now);
    return;
  }
  if (flags & SYN) {
    // RFC 5961, section 4.2 (RFC 9293 MAY-12): a SYN is challenged whatever its number.
    challenge(host, tcb, now);
    return;
  }
  if ((flags & ACK) === 0) {
    return;
  }
  const ahead = seqDiff(segment.ack, tcb.sndNxt);
  const behind = seqDiff(tcb.sndUna, segment.ack);
  if (ahead > 0 || behind > tcb.maxSndWnd) {
    // RFC 5961, section 5.2: the ACK of something never sent, or of long ago.
    host.counters.unacceptable += 1;
    challenge(host, tcb, now);
    return;
  }
  acknowledge(host, tcb, segment, now);
  if (tcb.abort === undefined && tcb.state !== 'CLOSED' && tcb.state !== 'TIME-WAIT') {
    receive(host, tcb, segment, now);
  }
}

/** RFC 9293, section 3.10.7.4, step 1, with the departures above. */
function isAcceptable(tcb: Tcb, segment: Segment, distance: number): boolean {
  const window = tcb.finReceived ? 0 : tcb.advertised - tcb.received;
  const hasFin = (segment.flags & FIN) !== 0;
  const length = segment.textLength + (hasFin ? 1 : 0);
  if (length === 0) {
    return distance >= 0 && distance <= window;
  }
  if (segment.textLength === 0 && distance === window) {
    return !tcb.finReceived;
  }
  return distance < window && distance + length > 0;
}

function onUnacceptable(host: TcpHost, tcb: Tcb, segment: Segment, now: number): void {
  host.counters.unacceptable += 1;
  if (segment.flags & RST) {
    return;
  }
  const distance = seqDiff(segment.seq, tcb.rcvNxt);
  const isInWindow = distance <= tcb.advertised - tcb.received && distance + segment.textLength > 0;
  if (tcb.finReceived && segment.textLength > 0 && isInWindow) {
    // Text after the FIN: it cannot be delivered, and it must not be lost in silence.
    abortByUs(host, tcb);
    return;
  }
  if ((segment.flags & SYN) === 0 && (distance < 0 || distance === 0)) {
    // Keepalives (one below RCV.NXT), probes of a closed window, and repeats of what we have: all
    // of them must be answered, or the program's kernel takes us for dead. RFC 9293 MUST-36.
    tcb.ackDue = true;
    host.mark(tcb);
    return;
  }
  challenge(host, tcb, now);
}

/** RFC 5961, section 3.2: only a RST that stands at RCV.NXT exactly is believed. */
function resetBy(host: TcpHost, tcb: Tcb, segment: Segment, now: number): void {
  const distance = seqDiff(segment.seq, tcb.rcvNxt);
  if (distance === 0) {
    fail(host, tcb);
  } else if (distance > 0 && distance <= tcb.advertised - tcb.received) {
    challenge(host, tcb, now);
  }
}

function challenge(host: TcpHost, tcb: Tcb, now: number): void {
  if (now - tcb.challengedAt < CHALLENGE_INTERVAL_MS) {
    host.counters.challengesSuppressed += 1;
    return;
  }
  tcb.challengedAt = now;
  tcb.ackDue = true;
  host.mark(tcb);
}
