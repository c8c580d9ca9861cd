/**
 * The ACK of a segment: RFC 9293, section 3.10.7.4, step 5. Frees what is acknowledged, moves the
 * peer's window, takes RTT samples, and finds losses.
 *
 * Between us and the program there is no path to congest: the peer's window is the only limit (no
 * RFC 5681). What the program's kernel drops for lack of memory is found by three duplicate ACKs or
 * the timer, and sent again one super-segment at a time: each partial ACK up to `recover` asks for
 * the next (RFC 6582, section 3.2).
 */
import {FIN} from '../wire/tcp.ts';
import type {Segment, TcpHost} from './host.ts';
import {seqDiff, seqLe, seqLt} from './seq.ts';
import type {Tcb} from './tcb.ts';
import {restartRetransmit, takeSample} from './timers.ts';

const DUP_ACK_THRESHOLD = 3;

/** Processes a SEG.ACK in [SND.UNA − MAX.SND.WND, SND.NXT], and what follows from it. */
export function acknowledge(host: TcpHost, tcb: Tcb, segment: Segment, now: number): void {
  const advance = seqDiff(segment.ack, tcb.sndUna);
  const {acked} = tcb.queue;
  const window = segment.window * 2 ** tcb.sndShift;
  if (advance > 0) {
    advanceUna(host, tcb, segment.ack, now);
  } else if (advance === 0 && isDuplicate(tcb, segment, window)) {
    countDuplicate(host, tcb);
  }
  updateWindow(host, tcb, segment, window);
  if (tcb.tries > 0 && window === 0) {
    // RFC 9293 MUST-37: a peer that keeps its window closed and answers is alive.
    tcb.stuckSince = now;
  }
  if (tcb.queue.acked > acked) {
    tcb.flow?.handler?.onAcked(tcb.queue.acked);
  }
  if (advance > 0 && tcb.abort === undefined && tcb.finSent && tcb.sndUna === tcb.sndNxt) {
    onFinAcked(host, tcb, now);
  }
}

function advanceUna(host: TcpHost, tcb: Tcb, ack: number, now: number): void {
  const isFinAcked = tcb.finSent && ack === tcb.sndNxt;
  const acked = tcb.queue.acked + seqDiff(ack, tcb.sndUna) - (isFinAcked ? 1 : 0);
  tcb.sndUna = ack;
  tcb.queue.acknowledge(acked);
  takeSample(tcb, ack, now);
  restartRetransmit(tcb, now);
  tcb.dupAcks = 0;
  if (tcb.recover !== undefined && seqLe(tcb.recover, ack)) {
    tcb.recover = undefined;
  }
  tcb.retransmit = tcb.recover !== undefined;
  host.mark(tcb);
}

/** RFC 5681, section 2: all five conditions of a duplicate ACK. */
function isDuplicate(tcb: Tcb, segment: Segment, window: number): boolean {
  return (
    tcb.sndUna !== tcb.sndNxt &&
    segment.textLength === 0 &&
    (segment.flags & FIN) === 0 &&
    window === tcb.sndWnd
  );
}

function countDuplicate(host: TcpHost, tcb: Tcb): void {
  tcb.dupAcks += 1;
  if (tcb.dupAcks === DUP_ACK_THRESHOLD && tcb.recover === undefined) {
    tcb.recover = tcb.sndNxt;
    tcb.retransmit = true;
    tcb.rttSeq = undefined;
    host.counters.fastRetransmits += 1;
    host.mark(tcb);
  }
}

/** RFC 9293: an old segment must not move the window back. */
function updateWindow(host: TcpHost, tcb: Tcb, segment: Segment, window: number): void {
  const isNewer =
    seqLt(tcb.sndWl1, segment.seq) ||
    (tcb.sndWl1 === segment.seq && seqLe(tcb.sndWl2, segment.ack));
  if (!isNewer || seqLt(segment.ack, tcb.sndUna)) {
    return;
  }
  tcb.sndWl1 = segment.seq;
  tcb.sndWl2 = segment.ack;
  if (window !== tcb.sndWnd) {
    tcb.sndWnd = window;
    tcb.maxSndWnd = Math.max(tcb.maxSndWnd, window);
    host.mark(tcb);
  }
}

function onFinAcked(host: TcpHost, tcb: Tcb, now: number): void {
  switch (tcb.state) {
    case 'FIN-WAIT-1':
      tcb.state = 'FIN-WAIT-2';
      break;
    case 'CLOSING': {
      const handler = tcb.flow?.handler;
      host.bury(tcb, now);
      handler?.onClose();
      break;
    }
    case 'LAST-ACK': {
      const handler = tcb.flow?.handler;
      host.remove(tcb);
      handler?.onClose();
      break;
    }
    default:
      break;
  }
}
