/**
 * Segments go out: everything that a connection owes at this moment, in one call.
 *
 *  - What can be sent goes in super-segments of up to 64 KiB, several queued chunks in one, up to the
 *    peer's window. There is no Nagle and no congestion window: we relay, over a link without path.
 *  - ACKs ride on data. Without data one pure ACK answers the whole batch, at once: late ones make the
 *    kernel probe for losses (RFC 9293 SHLD-19 is met by being early).
 *  - Each step changes the connection only after the device took the packet, so that a full device
 *    stops the work anywhere and the next call goes on from there.
 *
 * Silly windows (RFC 9293, section 3.8.6.2.1, MUST-38): a piece shorter than a segment is sent if it
 * is all there is, or half of the largest window ever seen, or after the override timer.
 */

import {ipHeaderLength, MAX_PACKET} from '../wire/ip.ts';
import {ACK, FIN, PSH, RST, SYN, TCP_LENGTH} from '../wire/tcp.ts';
import {failConnect} from './connect.ts';
import {type Output, sendSegment} from './output.ts';
import {buildRefusal} from './refuse.ts';
import {seqAdd, seqDiff} from './seq.ts';
import {isSynchronized, NEVER, type Tcb} from './tcb.ts';
import {armProbe, armRetransmit, onRetransmitTimeout, startSample, stopProbe} from './timers.ts';

/** A sender that gets three at once retransmits (RFC 5681, section 3.2): more tell it nothing. */
const MAX_DUP_ACKS = 3;

/** Sends all that is due. False: the device is full, and something is left. */
export function dispatchSegments(output: Output, tcb: Tcb): boolean {
  if (tcb.abort !== undefined && !isHandshaking(tcb)) {
    return dispatchAbort(output, tcb);
  }
  switch (tcb.state) {
    case 'PENDING':
    case 'CLOSED':
      return true;
    case 'SYN-SENT':
      return dispatchSyn(output, tcb);
    case 'SYN-RECEIVED':
      return dispatchSyn(output, tcb) && (tcb.sndNxt === tcb.iss || dispatchAcks(output, tcb));
    case 'TIME-WAIT':
      return dispatchAcks(output, tcb);
    default:
      return (
        dispatchRetransmit(output, tcb) &&
        dispatchData(output, tcb) &&
        dispatchProbe(output, tcb) &&
        dispatchAcks(output, tcb)
      );
  }
}

/**
 * A connection that the layer accepted and reset before the program could answer first comes to be:
 * in the pod `connect()` has succeeded, and there may be data to read.
 */
function isHandshaking(tcb: Tcb): boolean {
  return tcb.state === 'SYN-RECEIVED' && (tcb.synDue || tcb.retransmitAt !== NEVER);
}

/** The SYN-ACK, or our own SYN. */
function dispatchSyn(output: Output, tcb: Tcb): boolean {
  if (!tcb.synDue) {
    return true;
  }
  const isAnswer = tcb.state !== 'SYN-SENT';
  setHeader(output, tcb.iss, isAnswer ? tcb.rcvNxt : 0, isAnswer ? SYN | ACK : SYN);
  if (!sendSegment(output, tcb, 0)) {
    return false;
  }
  tcb.synDue = false;
  tcb.ackDue = false;
  if (tcb.sndNxt === tcb.iss) {
    tcb.sndNxt = seqAdd(tcb.iss, 1);
    startSample(tcb, tcb.sndNxt, output.now);
  } else {
    // Karn, as in onRetransmitTimeout: this one may be a repeat that the peer asked for.
    tcb.rttSeq = undefined;
  }
  armRetransmit(tcb, output.now);
  return true;
}

/** The stream offset of SND.NXT. */
function nextOffset(tcb: Tcb): number {
  return tcb.queue.acked + seqDiff(tcb.sndNxt, tcb.sndUna) - (tcb.finSent ? 1 : 0);
}

/** The most payload of one packet: whole segments, as many as fit into an IP packet. */
function maxPayload(tcb: Tcb): number {
  const room = MAX_PACKET - ipHeaderLength(tcb.path.version) - TCP_LENGTH;
  return room - (room % tcb.mss);
}

/** How much of `unsent` bytes may be sent in one packet into `usable` bytes of window. */
function sendable(tcb: Tcb, unsent: number, usable: number): number {
  const most = Math.min(maxPayload(tcb), usable);
  if (unsent <= most) {
    return unsent;
  }
  if (most >= tcb.mss) {
    return most - (most % tcb.mss);
  }
  // Without the half of the window, a peer whose buffer is below our MSS would wait forever.
  return most > 0 && (most * 2 >= tcb.maxSndWnd || tcb.override) ? most : 0;
}

function dispatchData(output: Output, tcb: Tcb): boolean {
  const {writer, host} = output;
  while (!tcb.finSent) {
    const offset = nextOffset(tcb);
    const unsent = tcb.queue.written - offset;
    const usable = tcb.sndWnd - seqDiff(tcb.sndNxt, tcb.sndUna);
    let length = sendable(tcb, unsent, usable);
    if (length > 0) {
      const range = {offset, length, maxParts: host.limits.partsPerPacket};
      writer.packet.partCount = tcb.queue.gather(range, writer.packet.parts);
      length = tcb.queue.gathered;
    }
    const left = unsent - length;
    const fin = tcb.finQueued && left === 0 && length < usable;
    if (length <= 0 && !fin) {
      break;
    }
    const isLast = left === 0 || sendable(tcb, left, usable - length) <= 0;
    const flags = ACK | (isLast && length > 0 ? PSH : 0) | (fin ? FIN : 0);
    setHeader(output, tcb.sndNxt, tcb.rcvNxt, flags);
    if (!sendSegment(output, tcb, length)) {
      return false;
    }
    onSent(output, tcb, length + (fin ? 1 : 0));
    if (fin) {
      onFinSent(tcb);
    }
  }
  waitForWindow(output, tcb);
  return true;
}

/** New sequence numbers have left. */
function onSent(output: Output, tcb: Tcb, length: number): void {
  tcb.sndNxt = seqAdd(tcb.sndNxt, length);
  tcb.ackDue = false;
  tcb.override = false;
  startSample(tcb, tcb.sndNxt, output.now);
  armRetransmit(tcb, output.now);
}

function onFinSent(tcb: Tcb): void {
  tcb.finSent = true;
  if (tcb.state === 'ESTABLISHED') {
    tcb.state = 'FIN-WAIT-1';
  } else if (tcb.state === 'CLOSE-WAIT') {
    tcb.state = 'LAST-ACK';
  }
}

/** Runs the persist timer while something waits and no ACK is to be expected. */
function waitForWindow(output: Output, tcb: Tcb): void {
  const isWaiting = !tcb.finSent && (nextOffset(tcb) < tcb.queue.written || tcb.finQueued);
  if (!isWaiting || tcb.sndNxt !== tcb.sndUna) {
    stopProbe(tcb);
  } else {
    armProbe(tcb, output.now);
  }
}

function dispatchRetransmit(output: Output, tcb: Tcb): boolean {
  if (!tcb.retransmit) {
    return true;
  }
  const {writer, host} = output;
  const sent = nextOffset(tcb) - tcb.queue.acked;
  let length = Math.min(sent, maxPayload(tcb), Math.max(tcb.sndWnd, tcb.mss));
  if (length > 0) {
    const range = {offset: tcb.queue.acked, length, maxParts: host.limits.partsPerPacket};
    writer.packet.partCount = tcb.queue.gather(range, writer.packet.parts);
    length = tcb.queue.gathered;
  }
  const fin = tcb.finSent && length === sent;
  if (length > 0 || fin) {
    setHeader(output, tcb.sndUna, tcb.rcvNxt, ACK | (length > 0 ? PSH : 0) | (fin ? FIN : 0));
    if (!sendSegment(output, tcb, length)) {
      return false;
    }
    tcb.ackDue = false;
    armRetransmit(tcb, output.now);
  }
  tcb.retransmit = false;
  return true;
}

/** RFC 9293, section 3.8.6.1: one below SND.UNA, no data: it draws an ACK with the window. */
function dispatchProbe(output: Output, tcb: Tcb): boolean {
  if (!tcb.probe) {
    return true;
  }
  setHeader(output, seqAdd(tcb.sndUna, -1), tcb.rcvNxt, ACK);
  if (!sendSegment(output, tcb, 0)) {
    return false;
  }
  output.host.counters.windowProbes += 1;
  tcb.probe = false;
  return true;
}

function dispatchAcks(output: Output, tcb: Tcb): boolean {
  tcb.dupAcksDue = Math.min(tcb.dupAcksDue, MAX_DUP_ACKS);
  while (tcb.ackDue || tcb.dupAcksDue > 0) {
    setHeader(output, tcb.sndNxt, tcb.rcvNxt, ACK);
    if (!sendSegment(output, tcb, 0)) {
      return false;
    }
    tcb.ackDue = false;
    tcb.dupAcksDue = Math.max(0, tcb.dupAcksDue - 1);
  }
  return true;
}

/**
 * Ends the connection. A kernel lets a program read what came before a RST, so what fits into the
 * window goes first. The RST stands at SND.NXT, which is RCV.NXT over there if nothing was lost; if
 * it is not, the challenge ACK finds no connection here, and the CLOSED rule answers it exactly.
 */
function dispatchAbort(output: Output, tcb: Tcb): boolean {
  if (tcb.state === 'PENDING') {
    return dispatchRefusal(output, tcb);
  }
  if (tcb.state === 'SYN-SENT') {
    // RFC 9293, section 3.10.5. A SYN-ACK that is on its way draws its RST as a stray.
    output.host.remove(tcb);
    return true;
  }
  if (isSynchronized(tcb)) {
    tcb.finQueued = false;
    if (!dispatchData(output, tcb)) {
      return false;
    }
  }
  setHeader(output, tcb.sndNxt, tcb.rcvNxt, RST | ACK);
  if (!sendSegment(output, tcb, 0)) {
    return false;
  }
  output.host.remove(tcb);
  return true;
}

function dispatchRefusal(output: Output, tcb: Tcb): boolean {
  const {abort} = tcb;
  const icmp = abort === undefined || abort === 'reset' ? undefined : buildRefusal(tcb, abort);
  let taken: boolean;
  if (icmp === undefined) {
    // RFC 9293, section 3.10.7.1: <SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK>.
    setHeader(output, 0, tcb.rcvNxt, RST | ACK);
    taken = sendSegment(output, tcb, 0);
  } else {
    taken = output.writer.emitWhole(icmp, output.emit);
  }
  if (taken) {
    output.host.remove(tcb);
  }
  return taken;
}

/** The deadline of the connection has come. Marks what is to be sent. */
export function onDeadline(output: Output, tcb: Tcb): void {
  const {host, now} = output;
  if (tcb.expireAt <= now) {
    const handler = tcb.flow?.handler;
    host.remove(tcb);
    handler?.onReset('timeout');
    return;
  }
  if (tcb.retransmitAt <= now) {
    if (!onRetransmitTimeout(tcb, now)) {
      giveUp(output, tcb);
      return;
    }
    host.counters.timeouts += 1;
    if (tcb.state === 'SYN-RECEIVED' || tcb.state === 'SYN-SENT') {
      tcb.synDue = true;
    } else if (tcb.sndWnd === 0) {
      // The peer shrank its window over what is in flight: the answer to a probe tells what came.
      tcb.probe = true;
    } else {
      tcb.retransmit = true;
      tcb.recover = tcb.sndNxt;
    }
    tcb.dupAcks = 0;
    host.mark(tcb);
  }
  if (tcb.probeAt <= now) {
    tcb.probeAt = NEVER;
    tcb.probes += 1;
    if (tcb.sndWnd > 0) {
      tcb.override = true;
    } else {
      tcb.probe = true;
    }
    host.mark(tcb);
  }
}

function giveUp(output: Output, tcb: Tcb): void {
  if (tcb.state === 'SYN-SENT') {
    failConnect(output.host, tcb, 'ETIMEDOUT');
    return;
  }
  const handler = tcb.flow?.handler;
  tcb.flow = undefined;
  tcb.abort = 'reset';
  tcb.synDue = false;
  tcb.retransmitAt = NEVER;
  tcb.probeAt = NEVER;
  output.host.counters.gaveUp += 1;
  output.host.mark(tcb);
  handler?.onReset('timeout');
}

function setHeader({header}: Output, seq: number, ack: number, flags: number): void {
  header.seq = seq;
  header.ack = ack;
  header.flags = flags;
}
