/**
 * The window that we advertise. It is the layer's credit and nothing else: what arrives is handed
 * over at once, so no buffer of ours limits it.
 *
 * `receiveLimit` is the credit, `advertised` the highest right edge that the peer was ever told; both
 * are absolute offsets and only grow. Data is taken up to `advertised` and never beyond, so never
 * beyond the credit. The field counts in units of 2^rcvShift bytes and is rounded down: the edge
 * that the peer computes may step back by less than one unit when RCV.NXT is no multiple of it. RFC
 * 7323, section 2.4, foresees this and asks that whatever would have fitted any window ever sent
 * be honoured: comparing with `advertised` does. Credit of less than a unit is not told at all.
 *
 * Where the device does not take super-segments (no TSO), what is in flight must fit into its queue, which
 * counts packets and drops in silence: all windows together get a budget, each connection its share. A
 * share bounds the window, not the credit: it moves on with each ACK.
 */
import type {Tcb} from './tcb.ts';

/** What the window of a connection may be, bytes; one object for all connections. */
export interface WindowShare {
  bytes: number;
}

/** No bound but the credit. */
export const UNBOUNDED: WindowShare = {bytes: Number.POSITIVE_INFINITY};

/** The largest value of the field. */
const MAX_FIELD = 0xffff;
/**
 * The shift that we announce: 128-byte units, 8 MiB at most. Twice the bandwidth-delay product of
 * 1 Gbit/s over 30 ms.
 */
export const WINDOW_SHIFT = 7;
/** An edge that has moved that far is worth a packet even if less than half of the window. */
const WORTHY_BYTES = 65_536;

/** The edge that the next segment may advertise, as a stream offset. */
function candidateEdge(tcb: Tcb): number {
  const unit = 2 ** tcb.rcvShift;
  // What was promised stays, though the share has become smaller.
  const most = Math.max(tcb.windowShare.bytes, tcb.advertised - tcb.received);
  const room = Math.max(0, Math.min(tcb.receiveLimit - tcb.received, most));
  return tcb.received + Math.min(Math.floor(room / unit), MAX_FIELD) * unit;
}

/** The edge as the peer knows it: what it was told last, rounded down. */
function toldEdge(tcb: Tcb): number {
  const unit = 2 ** tcb.rcvShift;
  return tcb.received + Math.floor(Math.max(0, tcb.advertised - tcb.received) / unit) * unit;
}

/** An advance below this is not told: RFC 9293 MUST-39, section 3.8.6.2.2. */
function leastAdvance(tcb: Tcb): number {
  return Math.min(tcb.maxRcvWnd / 2, tcb.rcvMss);
}

/** The window field of a segment sent now, and the promise that comes with it. */
export function advertise(tcb: Tcb): number {
  let edge = candidateEdge(tcb);
  if (edge > tcb.advertised && edge - toldEdge(tcb) < leastAdvance(tcb)) {
    edge = tcb.advertised;
  }
  const field = Math.min(
    Math.floor(Math.max(0, edge - tcb.received) / 2 ** tcb.rcvShift),
    MAX_FIELD,
  );
  tcb.advertised = Math.max(tcb.advertised, tcb.received + field * 2 ** tcb.rcvShift);
  return field;
}

/** The window field of a SYN-ACK: never scaled (RFC 7323, section 2.2). */
export function advertiseUnscaled(tcb: Tcb): number {
  const field = Math.min(tcb.receiveLimit, tcb.windowShare.bytes, MAX_FIELD);
  tcb.advertised = Math.max(tcb.advertised, field);
  return field;
}

/** Raises the credit. True: the peer should be told at once. */
export function raiseLimit(tcb: Tcb, limit: number): boolean {
  if (!(limit > tcb.receiveLimit)) {
    return false;
  }
  tcb.receiveLimit = limit;
  tcb.maxRcvWnd = Math.max(tcb.maxRcvWnd, limit - tcb.received);
  return isUpdateDue(tcb);
}

/** Whether the next segment will advertise more than the peer knows. */
export function hasNews(tcb: Tcb): boolean {
  const advance = candidateEdge(tcb) - toldEdge(tcb);
  return !tcb.finReceived && advance > 0 && advance >= leastAdvance(tcb);
}

/** Whether a window update is worth a packet of its own. */
function isUpdateDue(tcb: Tcb): boolean {
  if (!hasNews(tcb)) {
    return false;
  }
  const advance = candidateEdge(tcb) - toldEdge(tcb);
  const worthy = Math.min(tcb.maxRcvWnd / 2, Math.max(2 * tcb.rcvMss, WORTHY_BYTES));
  return advance >= worthy || tcb.advertised - tcb.received < 2 * tcb.rcvMss;
}
