/**
 * The text and the FIN of a segment: RFC 9293, section 3.10.7.4, steps 7 and 8. A super-segment of
 * 64 KiB is one segment here; its FIN stands at its end.
 *
 * Text in order goes to the handler as a view of the read buffer; text after a gap is copied and
 * waits. Urgent data is delivered in line and its pointer ignored (RFC 6093 leaves that to us).
 */
import {FIN} from '../wire/tcp.ts';
import {Assembler} from './assembler.ts';
import type {Segment, TcpHost} from './host.ts';
import {seqAdd, seqDiff} from './seq.ts';
import type {Tcb} from './tcb.ts';

/** Takes what the segment brings within the advertised window. It has been found acceptable. */
export function receive(host: TcpHost, tcb: Tcb, segment: Segment, now: number): void {
  if (tcb.finReceived || (segment.textLength === 0 && (segment.flags & FIN) === 0)) {
    return;
  }
  const start = tcb.received + seqDiff(segment.seq, tcb.rcvNxt);
  const wholeEnd = start + segment.textLength;
  const end = Math.min(wholeEnd, tcb.advertised);
  const hasFin = (segment.flags & FIN) !== 0 && end === wholeEnd;
  if (contradictsFin(tcb, end, hasFin)) {
    abortByUs(host, tcb);
    return;
  }
  if (hasFin) {
    tcb.finOffset = end;
  }
  tcb.ackDue = true;
  host.mark(tcb);
  const from = Math.max(start, tcb.received);
  if (from > tcb.received) {
    // RFC 5681, section 4.2: an out-of-order segment draws an immediate duplicate ACK.
    tcb.dupAcksDue += 1;
  }
  if (end > from) {
    const at = segment.textAt - start;
    const text = segment.frame.bytes.subarray(at + from, at + end);
    if (from > tcb.received) {
      keep(host, tcb, from, text);
      return;
    }
    deliver(tcb, text);
    drain(host, tcb);
  }
  if (tcb.finOffset === tcb.received && tcb.abort === undefined && tcb.state !== 'CLOSED') {
    onFin(host, tcb, now);
  }
}

/** Text past a FIN, or a second FIN elsewhere: the peer's stream has two ends. */
function contradictsFin(tcb: Tcb, end: number, hasFin: boolean): boolean {
  if (tcb.finOffset === undefined) {
    return false;
  }
  return end > tcb.finOffset || (hasFin && end < tcb.finOffset && end > tcb.received);
}

/** Ends a connection whose peer breaks the protocol: RST to it, `onReset` to the layer. */
export function abortByUs(host: TcpHost, tcb: Tcb): void {
  const handler = tcb.flow?.handler;
  tcb.flow = undefined;
  tcb.abort = 'reset';
  host.mark(tcb);
  handler?.onReset('reset');
}

function deliver(tcb: Tcb, text: Uint8Array): void {
  // Before the call: the handler may grant credit, which is counted from here.
  tcb.received += text.length;
  tcb.rcvNxt = seqAdd(tcb.rcvNxt, text.length);
  tcb.flow?.handler?.onData(text);
}

function keep(host: TcpHost, tcb: Tcb, start: number, text: Uint8Array): void {
  if (host.outOfOrderBytes >= host.limits.outOfOrderTotalBytes) {
    host.counters.assemblerLimit += 1;
    return;
  }
  tcb.assembler ??= new Assembler();
  const before = tcb.assembler.bytes;
  if (!tcb.assembler.insert(start, text, host.limits)) {
    host.counters.assemblerLimit += 1;
  }
  host.outOfOrderBytes += tcb.assembler.bytes - before;
}

/** Hands over what was kept and is now in order. */
function drain(host: TcpHost, tcb: Tcb): void {
  const {assembler} = tcb;
  if (assembler === undefined) {
    return;
  }
  while (tcb.abort === undefined && tcb.state !== 'CLOSED') {
    const before = assembler.bytes;
    const text = assembler.take(tcb.received);
    host.outOfOrderBytes -= before - assembler.bytes;
    if (text === undefined) {
      return;
    }
    deliver(tcb, text);
  }
}

function onFin(host: TcpHost, tcb: Tcb, now: number): void {
  tcb.finReceived = true;
  tcb.rcvNxt = seqAdd(tcb.rcvNxt, 1);
  const handler = tcb.flow?.handler;
  switch (tcb.state) {
    case 'ESTABLISHED':
      tcb.state = 'CLOSE-WAIT';
      break;
    case 'FIN-WAIT-1':
      tcb.state = 'CLOSING';
      break;
    case 'FIN-WAIT-2':
      host.bury(tcb, now);
      handler?.onEnd();
      handler?.onClose();
      return;
    default:
      return;
  }
  handler?.onEnd();
}
