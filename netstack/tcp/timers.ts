/**
 * Round-trip times, the retransmission timeout and all deadlines of a connection (RFC 6298).
 *
 * One deadline per connection is in the heap: the earliest of
 *
 *     retransmitAt   something is sent and not acknowledged: RTO, doubled each time, 0.2 to 60 s
 *     probeAt        the window is closed (persist, 0.2 to 60 s) or too small (SWS override, 0.2 s)
 *     expireAt       PENDING: the program's kernel has long given up; TIME-WAIT: the tombstone's end
 *
 * There is none for an idle connection: like the kernel, we let it stand for years.
 */
import {seqLe} from './seq.ts';
import {NEVER, type Tcb} from './tcb.ts';

/** The kernel delays ACKs by 40 to 200 ms: a shorter RTO would be spurious (Linux TCP_RTO_MIN). */
const MIN_RTO_MS = 200;
/** RFC 6298, section 2.5. */
const MAX_RTO_MS = 60_000;
/** RFC 9293, section 3.8.6.2.1: the override timer, 0.1 to 1 s; also the first window probe. */
const MIN_PROBE_MS = 200;
const MAX_PROBE_MS = 60_000;
/** RFC 9293 MUST-20 with R2 of about 100 s: a kernel that is silent for 2 minutes has gone. */
const GIVE_UP_MS = 120_000;
/** In LAST-ACK and CLOSING nothing is lost any more by giving up: Linux net.ipv4.tcp_fin_timeout. */
const GIVE_UP_CLOSING_MS = 60_000;

/** The earliest deadline. */
export function nextDeadline(tcb: Tcb): number {
  return Math.min(tcb.retransmitAt, tcb.probeAt, tcb.expireAt);
}

/** The timeout with its back-off (RFC 6298, section 5.5). */
export function backedOffRtoMs(tcb: Tcb): number {
  return Math.min(tcb.rtoMs * 2 ** tcb.tries, MAX_RTO_MS);
}

/** Starts an RTT sample that ends with the ACK of `seq`, unless one is under way. */
export function startSample(tcb: Tcb, seq: number, now: number): void {
  if (tcb.rttSeq === undefined) {
    tcb.rttSeq = seq;
    tcb.rttStart = now;
  }
}

/** Ends the sample if `ack` covers it (RFC 6298, sections 2.2 and 2.3). */
export function takeSample(tcb: Tcb, ack: number, now: number): void {
  if (tcb.rttSeq === undefined || !seqLe(tcb.rttSeq, ack)) {
    return;
  }
  const rtt = now - tcb.rttStart;
  tcb.rttSeq = undefined;
  if (tcb.srtt === undefined) {
    tcb.srtt = rtt;
    tcb.rttvar = rtt / 2;
  } else {
    tcb.rttvar = 0.75 * tcb.rttvar + 0.25 * Math.abs(tcb.srtt - rtt);
    tcb.srtt = 0.875 * tcb.srtt + 0.125 * rtt;
  }
  tcb.rtoMs = Math.min(Math.max(MIN_RTO_MS, tcb.srtt + 4 * tcb.rttvar), MAX_RTO_MS);
}

/** Starts the retransmission timer if it is not running: RFC 6298, section 5.1. */
export function armRetransmit(tcb: Tcb, now: number): void {
  if (tcb.retransmitAt === NEVER) {
    tcb.retransmitAt = now + backedOffRtoMs(tcb);
  }
}

/** After new data was acknowledged: RFC 6298, sections 5.2 and 5.3. */
export function restartRetransmit(tcb: Tcb, now: number): void {
  tcb.tries = 0;
  tcb.retransmitAt = tcb.sndUna === tcb.sndNxt ? NEVER : now + tcb.rtoMs;
}

/** Starts the probe timer if it is not running. */
export function armProbe(tcb: Tcb, now: number): void {
  if (tcb.probeAt === NEVER) {
    tcb.probeAt = now + Math.min(MIN_PROBE_MS * 2 ** tcb.probes, MAX_PROBE_MS);
  }
}

/** The window is open, or nothing waits for it. */
export function stopProbe(tcb: Tcb): void {
  tcb.probeAt = NEVER;
  tcb.probes = 0;
  tcb.override = false;
}

/**
 * The retransmission timer has expired. False: it is time to give the connection up. While the peer
 * holds its window closed and still answers, it never is (RFC 9293 MUST-37).
 */
export function onRetransmitTimeout(tcb: Tcb, now: number): boolean {
  if (tcb.tries === 0) {
    tcb.stuckSince = tcb.retransmitAt - tcb.rtoMs;
  }
  tcb.tries += 1;
  const closing = tcb.state === 'LAST-ACK' || tcb.state === 'CLOSING';
  const patienceMs = closing ? GIVE_UP_CLOSING_MS : GIVE_UP_MS;
  if (now - tcb.stuckSince >= patienceMs) {
    return false;
  }
  tcb.retransmitAt = now + backedOffRtoMs(tcb);
  // Karn: an ACK could now be for either transmission (RFC 6298, section 3).
  tcb.rttSeq = undefined;
  return true;
}
