/**
 * The connections to mirrored ports, as their packets show them. Sans-IO: takes segments, opens copies.
 *
 *     SYN ──► known ──the client's next segment──► open ──FIN, RST of either side──► forgotten
 *
 * A copy begins when the client has answered the handshake, so that nothing comes of a SYN that nobody answers, or of one
 * that is refused; and only of a connection that is the application's (`destination.ts`), others are forgotten. It ends with the client's FIN, and is reset with a reset of either side. It is cut off
 * when the capture has lost something of it, which shows as a gap: at once if the ring was full meanwhile, after GAP_MS if what
 * is missing may only be late. What nobody takes a copy of, or any more, is not put in order; when there is much of it, the
 * kernel is to leave it out.
 *
 * A copy may also begin in the middle: where nobody takes one of a connection, because it was there before or because its copy
 * is over, and a segment begins with a request line of HTTP/1. So a program that closes an idle connection gets the
 * requests that come over it later, and who has a pool of connections to the target is mirrored, too.
 *
 * A reset of the client's counts where the kernel would take it: at the sequence number that is expected, or above it within
 * what waits (RFC 5961, section 3.2). A SYN on an open connection, too, is nothing in itself, but if the client goes on
 * from it, the connection was over before, and its end was lost.
 */

import {Pool} from '../../../tunnel/memory.ts';
import {detectProtocol} from '../http/detect.ts';
import type {Ends} from '../tunnel-socket.ts';
import {type Assembled, Assembler, distance} from './assembler.ts';
import {FlowTable} from './flow-table.ts';
import {PortCounts} from './port-counts.ts';
import {FIN, RST, type Segment, SYN} from './segment.ts';

/** What waits of all connections for something that is missing. */
const WAITING_BYTES = 8_388_608;
/** Handshakes at a time; of more the oldest is forgotten. */
const MOST_KNOWN = 4_096;
/** Copied connections at a time. */
export const MOST_OPEN = 4_096;
/** What is missing gets so long to come, ms: a few retransmissions. */
const GAP_MS = 10_000;
/** What nobody takes, of a connection, until it is worth another filter: a second at 100 Mbit/s. */
const UNWANTED_BYTES = 12_582_912;
/** Connections of which that is counted; of more the oldest is forgotten. */
const MOST_UNWANTED = 1_024;
/** A handshake that is not answered is forgotten, ms. A SYN is repeated before. */
const HANDSHAKE_MS = 10_000;

/** Where the bytes of a connection go. */
export interface Copy extends Assembled {
  /** Whether anybody still takes them. */
  readonly isAlive: boolean;
  /** The connection is broken. */
  reset(): void;
  /** Something of it is missing. */
  cutOff(): void;
}

export class Flow {
  readonly ends: Ends;
  /** It is on `lo`. */
  readonly isLoopback: boolean;
  /** It ends at the application, as far as that is known. */
  isApplications = false;
  /** Sequence number of the client's SYN. */
  first: number;
  /** Of a SYN that came when it was open. */
  again: number | undefined;
  assembler: Assembler | undefined;
  copy: Copy | undefined;
  /** What came since nobody takes any more of it; undefined: that is not so. */
  unwantedBytes: number | undefined;
  /** When anything of it came, ms; and anything in order. */
  seenAt: number;
  grownAt: number;

  constructor(ends: Ends, isLoopback: boolean, first: number, nowMs: number) {
    this.ends = ends;
    this.isLoopback = isLoopback;
    this.first = first;
    this.seenAt = this.grownAt = nowMs;
  }
}

/** Where a segment was seen. */
export interface Way {
  /** It is one of the application's. */
  readonly isOutgoing: boolean;
  readonly isLoopback: boolean;
}

export interface TrackerOptions {
  /** Whether a connection ends at the application. Asked once, when it is there. */
  isApplications(ends: Ends, isLoopback: boolean): boolean;
  /** Asked when a connection is there; undefined: nobody takes a copy. */
  open(ends: Ends): Copy | undefined;
  /** So much comes of a connection that nobody wants a copy of that it should be left out. */
  onUnwanted(ends: Ends): void;
  /** A client begins a connection, or ends one of which nothing is known. */
  onBoundary(ends: Ends): void;
  /** Whether the ring was full since it was last asked. */
  hasLost(): boolean;
  /** A connection was one too many. */
  onOverLimit(port: number): void;
}

export class Tracker {
  readonly counters = {
    segments: 0,
    connections: 0,
    strays: 0,
    elsewhere: 0,
    nonsense: 0,
    handshakesForgotten: 0,
    overLimit: 0,
    cutOff: 0,
  };
  readonly #options: TrackerOptions;
  readonly #flows = new FlowTable<Flow>();
  /** Those that are not open yet, oldest first. */
  readonly #known = new Set<Flow>();
  readonly #unwanted = new Set<Flow>();
  readonly #pool = new Pool(WAITING_BYTES);
  /** How many are open, by port. */
  readonly #open = new PortCounts();
  /** How many from outside are the application's, by port. */
  readonly #fromOutside = new PortCounts();
  #openCount = 0;
  #lostAt = Number.NEGATIVE_INFINITY;

  constructor(options: TrackerOptions) {
    this.#options = options;
  }

  /** The ports of connections that are copied. */
  get ports(): Iterable<number> {
    return this.#open.ports;
  }

  /** Connections that are copied. */
  get openCount(): number {
    return this.#openCount;
  }

  /** Connections that are known, and of which nobody takes anything. */
  get unwantedCount(): number {
    return this.#unwanted.size;
  }

  /** What waits for something that is missing. */
  get waitingBytes(): number {
    return this.#pool.bytes;
  }

  /** Whether anything that comes from outside to a port is known to be the application's. */
  isReachedFromOutside(port: number): boolean {
    return this.#fromOutside.has(port);
  }

  /** Takes a segment, whose places are in `bytes`. */
  take(segment: Segment, bytes: Uint8Array, way: Way, nowMs: number): void {
    this.counters.segments++;
    const flow = this.#flows.find(segment, bytes, way.isOutgoing);
    if (way.isOutgoing) {
      if (flow !== undefined && (segment.flags & RST) !== 0) this.#broken(flow);
      return;
    }
    if ((segment.flags & SYN) !== 0) {
      if (!this.#isAgain(segment, flow, nowMs)) this.#onSyn(segment, bytes, way, nowMs);
    } else if (flow === undefined) {
      this.counters.strays++;
      if ((segment.flags & (FIN | RST)) !== 0) this.#options.onBoundary(segment.endsOf(bytes));
    } else this.#onSegment(segment, bytes, flow, nowMs);
  }

  /** A connection of the application's that was there before: it is copied from a request on. */
  standing(ends: Ends, isLoopback: boolean, nowMs: number): void {
    if (this.#flows.hasEnds(ends)) return;
    const flow = new Flow(ends, isLoopback, 0, nowMs);
    this.#flows.add(flow);
    this.#noteApplications(flow);
    this.#ignore(flow);
  }

  /** The ring was full. */
  lost(nowMs: number): void {
    this.#lostAt = nowMs;
  }

  /** Cuts off what waits too long, and forgets what comes to nothing. */
  sweep(nowMs: number): void {
    for (const flow of this.#known) {
      if (nowMs - flow.seenAt < HANDSHAKE_MS) continue;
      this.#forget(flow);
    }
    for (const flow of this.#flows.all()) {
      const {copy, assembler} = flow;
      if (copy === undefined) continue;
      if (!copy.isAlive) this.#ignore(flow);
      else if (assembler?.isWaiting === true && nowMs - flow.grownAt >= GAP_MS) this.#cutOff(flow);
    }
  }

  /** Connections of which nothing came for so long. */
  idle(nowMs: number, forMs: number): Flow[] {
    return [...this.#flows.all()].filter(
      ({copy, seenAt}) => copy !== undefined && nowMs - seenAt >= forMs,
    );
  }

  /** The connection is no more, as others tell. */
  gone(flow: Flow): void {
    if (this.#flows.has(flow)) this.#broken(flow);
  }

  /** Breaks everything off. */
  close(): void {
    for (const flow of [...this.#flows.all()]) this.#broken(flow);
  }

  // ---- segments ----

  #onSyn(segment: Segment, bytes: Uint8Array, {isLoopback}: Way, nowMs: number): void {
    const known = new Flow(segment.endsOf(bytes), isLoopback, segment.sequence, nowMs);
    this.#flows.add(known);
    this.#await(known);
    this.#options.onBoundary(known.ends);
  }

  /** Whether a SYN is one of a connection that is there. */
  #isAgain({sequence}: Segment, flow: Flow | undefined, nowMs: number): boolean {
    if (flow === undefined) return false;
    if (flow.unwantedBytes !== undefined) {
      this.#forget(flow);
      return false;
    }
    if (flow.copy === undefined) {
      flow.first = sequence;
      flow.seenAt = nowMs;
    } else if (sequence !== flow.first) flow.again = sequence;
    return true;
  }

  #await(flow: Flow): void {
    this.#known.add(flow);
    if (this.#known.size <= MOST_KNOWN) return;
    const [oldest] = this.#known;
    if (oldest === undefined) return;
    this.counters.handshakesForgotten++;
    this.#forget(oldest);
  }

  #onSegment(segment: Segment, bytes: Uint8Array, flow: Flow, nowMs: number): void {
    if (flow.unwantedBytes !== undefined) {
      if (!isRequest(segment, bytes)) {
        this.#onUnwanted(segment, flow, flow.unwantedBytes);
        return;
      }
      flow.unwantedBytes = undefined;
      this.#unwanted.delete(flow);
      flow.first = (segment.sequence - 1) >>> 0;
    }
    if (flow.again !== undefined && segment.sequence === (flow.again + 1) >>> 0) {
      const known = new Flow(flow.ends, flow.isLoopback, flow.again, nowMs);
      this.#broken(flow);
      this.#flows.add(known);
      this.#known.add(known);
      this.#onSegment(segment, bytes, known, nowMs);
      return;
    }
    if ((segment.flags & RST) !== 0) {
      if (isAcceptable(segment, flow)) this.#broken(flow);
      return;
    }
    if (flow.copy === undefined && !this.#begin(segment, flow)) return;
    flow.seenAt = nowMs;
    const {copy, assembler} = flow;
    if (copy === undefined || assembler === undefined) return;
    if (!copy.isAlive) {
      this.#ignore(flow);
      return;
    }
    this.#assemble(segment, bytes, {flow, copy, assembler}, nowMs);
  }

  #assemble(
    {sequence, flags, payloadAt, payloadBytes}: Segment,
    bytes: Uint8Array,
    {flow, assembler}: {flow: Flow; copy: Copy; assembler: Assembler},
    nowMs: number,
  ): void {
    const isLast = (flags & FIN) !== 0;
    if (payloadBytes === 0 && !isLast) return;
    const {next, isWaiting: wasWaiting} = assembler;
    const result = assembler.take(sequence, bytes, payloadAt, payloadBytes, isLast);
    if (result === 'nonsense') this.counters.nonsense++;
    else if (result === 'full') this.#cutOff(flow);
    else if (assembler.isDone) this.#forget(flow);
    else if (next !== assembler.next) flow.grownAt = nowMs;
    else if (assembler.isWaiting) {
      if (!wasWaiting && this.#options.hasLost()) this.#lostAt = nowMs;
      if (this.#lostAt >= flow.grownAt) this.#cutOff(flow);
    }
  }

  /** The client has answered the handshake, or seems to; returns whether there is a copy now. */
  #begin({sequence}: Segment, flow: Flow): boolean {
    const next = (flow.first + 1) >>> 0;
    if (distance(next, sequence) < 0) {
      this.counters.nonsense++;
      return false;
    }
    this.#known.delete(flow);
    if (!flow.isApplications) {
      if (!this.#options.isApplications(flow.ends, flow.isLoopback)) {
        this.counters.elsewhere++;
        this.#forget(flow);
        return false;
      }
      this.#noteApplications(flow);
    }
    const {port} = flow.ends.local;
    if (this.#openCount >= MOST_OPEN) {
      this.counters.overLimit++;
      this.#options.onOverLimit(port);
    } else flow.copy = this.#options.open(flow.ends);
    if (flow.copy === undefined) {
      this.#ignore(flow);
      return false;
    }
    flow.assembler = new Assembler(next, flow.copy, this.#pool);
    this.counters.connections++;
    this.#openCount++;
    this.#open.change(port, 1);
    return true;
  }

  #noteApplications(flow: Flow): void {
    flow.isApplications = true;
    if (!flow.isLoopback) this.#fromOutside.change(flow.ends.local.port, 1);
  }

  // ---- ends ----

  #broken(flow: Flow): void {
    this.#forget(flow);
    flow.copy?.reset();
  }

  #cutOff(flow: Flow): void {
    this.counters.cutOff++;
    const {copy} = flow;
    this.#ignore(flow);
    copy?.cutOff();
  }

  /** Nobody takes any more of it. */
  #ignore(flow: Flow): void {
    const {copy} = flow;
    this.#end(flow);
    flow.copy = flow.assembler = undefined;
    if (copy?.isAlive === false) copy.reset();
    flow.unwantedBytes = 0;
    this.#unwanted.add(flow);
    const [oldest] = this.#unwanted;
    if (this.#unwanted.size > MOST_UNWANTED && oldest !== undefined) this.#forget(oldest);
  }

  #onUnwanted({flags, payloadBytes}: Segment, flow: Flow, before: number): void {
    flow.unwantedBytes = before + payloadBytes;
    const isHeavy = flow.unwantedBytes >= UNWANTED_BYTES;
    if ((flags & (FIN | RST)) !== 0 || isHeavy) this.#forget(flow);
    if (isHeavy) this.#options.onUnwanted(flow.ends);
  }

  #forget(flow: Flow): void {
    this.#flows.delete(flow);
    if (flow.isApplications && !flow.isLoopback) this.#fromOutside.change(flow.ends.local.port, -1);
    flow.isApplications = false;
    this.#unwanted.delete(flow);
    this.#end(flow);
  }

  /** It is not copied any more. */
  #end(flow: Flow): void {
    this.#known.delete(flow);
    if (flow.assembler === undefined) return;
    flow.assembler.close();
    this.#openCount--;
    this.#open.change(flow.ends.local.port, -1);
  }
}

/** Whether a segment begins with a request line of HTTP/1. */
function isRequest({payloadAt, payloadBytes}: Segment, bytes: Uint8Array): boolean {
  if (payloadBytes === 0) return false;
  return detectProtocol(bytes.subarray(payloadAt, payloadAt + payloadBytes)) === 'http1';
}

/** Whether TCP would take a reset for one of this connection. */
function isAcceptable({sequence}: Segment, {first, assembler}: Flow): boolean {
  if (assembler === undefined) return sequence === (first + 1) >>> 0;
  const ahead = distance(assembler.next, sequence);
  return ahead === 0 || (ahead > 0 && assembler.isWaiting);
}
