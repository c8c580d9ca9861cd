/**
 * All TCP connections: the table that segments are looked up in, the list of those that have
 * something to send, and the heap of their deadlines.
 *
 * Theory of operation. `process` finds the connection of a segment, lets the state machine change it
 * and marks it; nothing is sent. `dispatch` first lets expired deadlines mark theirs, then goes
 * through the marked connections and lets each send what it owes. So the work is proportional to
 * the connections that have some, a batch of packets draws one ACK per connection, and a device
 * that is full stops it between any two packets. A connection leaves the table when both ends are
 * done with it; one that we closed first leaves a tombstone (TIME-WAIT) for a few seconds.
 *
 * Connections into the namespace (`connect.ts`) enter by `connect` and share everything else.
 */
import type {Counters} from '../counters.ts';
import {createFlowKey, FlowTable} from '../flow-table.ts';
import {createHashKey, type HashKey} from '../hash.ts';
import type {Limits} from '../limits.ts';
import type {Shared} from '../shared.ts';
import {TimerHeap} from '../timer-heap.ts';
import type {ConnectErrno, Emit, Endpoint, Errno, TcpConnection, TcpHandler} from '../types.ts';
import {fold, sumWords} from '../wire/checksum.ts';
import {type IpHeader, isGroupDestination} from '../wire/ip.ts';
import type {Octets} from '../wire/octets.ts';
import {ACK, createTcpHeader, FIN, parseTcp, RST, SYN, TCP_LENGTH} from '../wire/tcp.ts';
import {fillConnectKey, IsnClock, isConnectable, openSynSent} from './connect.ts';
import {dispatchSegments, onDeadline} from './dispatch.ts';
import {type FlowHost, TcpSocket} from './flow.ts';
import {acceptPending, fillKey, openPending} from './handshake.ts';
import type {Segment} from './host.ts';
import {createOutput, type Output} from './output.ts';
import {processSegment} from './process.ts';
import {buildStrayReset} from './stray.ts';
import {NEVER, type Tcb} from './tcb.ts';
import {nextDeadline} from './timers.ts';
import type {WindowShare} from './window.ts';

/** A `Segment` that can be filled in. */
type MutableSegment = {-readonly [Field in keyof Segment]: Segment[Field]};

export class Tcp implements FlowHost {
  readonly counters: Counters;
  readonly limits: Limits;
  readonly mtu: number;
  outOfOrderBytes = 0;
  readonly #shared: Shared;
  readonly #table: FlowTable<Tcb>;
  readonly #timers = new TimerHeap<Tcb>();
  readonly #dirty: Tcb[] = [];
  /** Tombstones, oldest first; those that have left the table in the meantime are still in here. */
  readonly #tombstones: Tcb[] = [];
  readonly #secret: HashKey;
  readonly #isnClock: IsnClock;
  /** What each connection has of the budget for windows. */
  readonly #share: WindowShare = {bytes: Number.POSITIVE_INFINITY};
  readonly #output: Output;
  readonly #key = createFlowKey();
  readonly #header = createTcpHeader();
  #segment: MutableSegment | undefined;
  #ip: IpHeader | undefined;
  #pending = 0;
  #timeWait = 0;
  #now = 0;

  constructor(shared: Shared) {
    this.#shared = shared;
    this.counters = shared.counters;
    this.limits = shared.limits;
    this.mtu = shared.mtu;
    this.#table = new FlowTable(shared.random);
    this.#secret = createHashKey(shared.random);
    this.#isnClock = new IsnClock(this.#secret);
    this.#output = createOutput(this, shared.writer);
  }

  /** What is held; of the stack's numbers, those of TCP. */
  usage(): {flows: number; pending: number; tombstones: number; timers: number} {
    return {
      flows: this.#table.size - this.#timeWait,
      pending: this.#pending,
      tombstones: this.#timeWait,
      timers: this.#timers.size,
    };
  }

  /** Takes the segment that `ip` carries. `isTrusted`: its checksum need not be verified. */
  process(frame: Octets, ip: IpHeader, {isTrusted, now}: {isTrusted: boolean; now: number}): void {
    const header = this.#header;
    if (!parseTcp(frame, ip.payloadAt, ip.payloadLength, header)) {
      this.counters.malformed += 1;
      return;
    }
    if (!isTrusted && !isIntact(frame, ip)) {
      this.counters.badChecksum += 1;
      return;
    }
    this.#now = now;
    this.#ip = ip;
    const segment = this.#fill(frame, ip);
    fillKey(this.#key, frame, ip, header);
    const tcb = this.#table.get(this.#key);
    if (tcb === undefined || processSegment(this, tcb, segment, now)) {
      this.#listen(segment, ip);
    }
  }

  #fill(frame: Octets, ip: IpHeader): Segment {
    const {seq, ack, flags, window, headerLength} = this.#header;
    const optionsAt = ip.payloadAt + TCP_LENGTH;
    const textAt = ip.payloadAt + headerLength;
    const textLength = ip.payloadLength - headerLength;
    if (this.#segment === undefined) {
      this.#segment = {frame, seq, ack, flags, window, optionsAt, textAt, textLength};
      return this.#segment;
    }
    const segment = this.#segment;
    segment.frame = frame;
    segment.seq = seq;
    segment.ack = ack;
    segment.flags = flags;
    segment.window = window;
    segment.optionsAt = optionsAt;
    segment.textAt = textAt;
    segment.textLength = textLength;
    return segment;
  }

  /** A segment without a connection: a SYN opens one, anything else has strayed. */
  #listen(segment: Segment, ip: IpHeader): void {
    const {sourcePort, destinationPort} = this.#header;
    if ((segment.flags & (SYN | ACK | RST | FIN)) !== SYN) {
      this.strayed(segment);
      return;
    }
    if (
      sourcePort === 0 ||
      destinationPort === 0 ||
      isGroupDestination(segment.frame, ip) ||
      isSelfConnect(this.#key)
    ) {
      this.strayed(segment);
      return;
    }
    // Refused, not dropped: the program learns at once what it would otherwise wait two minutes for.
    if (this.#pending >= this.limits.pending) {
      this.counters.pendingLimit += 1;
      this.#answerByReset(segment, ip);
      return;
    }
    if (this.#table.size - this.#timeWait >= this.limits.flows) {
      this.counters.flowLimit += 1;
      this.#answerByReset(segment, ip);
      return;
    }
    const tcb = openPending(segment.frame, ip, this.#header, this.mtu);
    const flow = new TcpSocket(this, tcb);
    tcb.flow = flow;
    tcb.expireAt = this.#now + this.limits.pendingMs;
    tcb.windowShare = this.#share;
    this.#table.add(tcb);
    this.#timers.set(tcb, nextDeadline(tcb));
    this.#pending += 1;
    this.counters.tcpOpened += 1;
    this.#shared.handler.onTcp(flow);
  }

  /** Opens a connection into the namespace: see `Stack.connectTcp`. */
  connect(client: Endpoint, program: Endpoint, handler: TcpHandler): TcpConnection | ConnectErrno {
    if (!isConnectable(client, program)) {
      return 'EADDRNOTAVAIL';
    }
    fillConnectKey(this.#key, program, client);
    const earlier = this.#table.get(this.#key);
    if (earlier !== undefined && earlier.state !== 'TIME-WAIT') {
      return 'EADDRINUSE';
    }
    if (earlier !== undefined) {
      // The client has reused its port; the ISN stands above the last number (RFC 6191).
      this.remove(earlier);
    }
    if (this.#table.size - this.#timeWait >= this.limits.flows) {
      this.counters.flowLimit += 1;
      return 'EMFILE';
    }
    const tcb = openSynSent(program, client, this.mtu);
    tcb.iss = this.#isnClock.next(tcb.key, this.#now);
    tcb.sndUna = tcb.iss;
    tcb.sndNxt = tcb.iss;
    const flow = new TcpSocket(this, tcb);
    flow.handler = handler;
    tcb.flow = flow;
    tcb.windowShare = this.#share;
    this.#table.add(tcb);
    this.counters.connects += 1;
    this.mark(tcb);
    return flow;
  }

  /** Sends what is due; false: the device is full. */
  dispatch(now: number, emit: Emit): boolean {
    this.#now = now;
    const sharers = this.#table.size - this.#timeWait - this.#pending;
    // Less than two segments would stop the program's kernel for its delayed ACKs' time.
    const share = Math.floor(this.#shared.windowBudget / Math.max(1, sharers));
    this.#share.bytes = Math.max(2 * this.mtu, share);
    const output = this.#output;
    output.now = now;
    output.emit = emit;
    for (let tcb = this.#timers.first; tcb !== undefined; tcb = this.#timers.first) {
      if (tcb.timerAt > now) {
        break;
      }
      onDeadline(output, tcb);
      this.#timers.set(tcb, isClosed(tcb) ? NEVER : nextDeadline(tcb));
    }
    return this.#dispatchDirty(output);
  }

  #dispatchDirty(output: Output): boolean {
    const dirty = this.#dirty;
    let done = 0;
    for (; done < dirty.length; done += 1) {
      const tcb = dirty[done];
      if (tcb === undefined || isClosed(tcb)) {
        continue;
      }
      const isDone = dispatchSegments(output, tcb);
      if (isClosed(tcb)) {
        continue;
      }
      this.#timers.set(tcb, nextDeadline(tcb));
      if (!isDone) {
        break;
      }
      tcb.dirty = false;
    }
    dirty.splice(0, done);
    return dirty.length === 0;
  }

  /** The next deadline; −Infinity: something waits to be sent. */
  pollAt(): number {
    if (this.#dirty.length > 0) {
      return Number.NEGATIVE_INFINITY;
    }
    return this.#timers.first?.timerAt ?? NEVER;
  }

  accept(tcb: Tcb, receiveLimit: number): void {
    acceptPending(tcb, receiveLimit, {secret: this.#secret, now: this.#now});
    this.#pending -= 1;
    this.mark(tcb);
  }

  refuse(tcb: Tcb, errno: Errno): void {
    tcb.flow = undefined;
    if (errno === 'ETIMEDOUT') {
      // Silence. The block stays until the program's kernel has given up, so that the SYNs that it
      // still repeats do not dial again.
      return;
    }
    tcb.abort = errno;
    this.mark(tcb);
  }

  mark(tcb: Tcb): void {
    if (!tcb.dirty) {
      tcb.dirty = true;
      this.#dirty.push(tcb);
    }
  }

  remove(tcb: Tcb): void {
    if (!this.#table.delete(tcb)) {
      return;
    }
    if (tcb.state === 'PENDING') {
      this.#pending -= 1;
    } else if (tcb.state === 'TIME-WAIT') {
      this.#timeWait -= 1;
      if (this.#timeWait === 0) {
        this.#tombstones.length = 0;
      }
    }
    tcb.state = 'CLOSED';
    if (tcb.isActive) {
      this.#isnClock.leave(tcb, this.#now);
    }
    this.#release(tcb);
    this.#timers.delete(tcb);
  }

  bury(tcb: Tcb, now: number): void {
    tcb.state = 'TIME-WAIT';
    this.#release(tcb);
    tcb.ackDue = true;
    tcb.retransmitAt = NEVER;
    tcb.probeAt = NEVER;
    tcb.expireAt = now + this.limits.timeWaitMs;
    this.#timeWait += 1;
    this.#tombstones.push(tcb);
    this.mark(tcb);
    this.#trimTombstones();
  }

  /** Lets go of the layer and of all bytes. */
  #release(tcb: Tcb): void {
    tcb.flow = undefined;
    tcb.queue.clear();
    this.outOfOrderBytes -= tcb.assembler?.bytes ?? 0;
    tcb.assembler = undefined;
  }

  #trimTombstones(): void {
    while (this.#timeWait > this.limits.timeWait) {
      const oldest = this.#tombstones.shift();
      if (oldest === undefined) {
        return;
      }
      if (oldest.state === 'TIME-WAIT') {
        this.counters.timeWaitLimit += 1;
        this.remove(oldest);
      }
    }
    if (this.#tombstones.length > 64 && this.#tombstones.length > this.#timeWait * 2) {
      const alive = this.#tombstones.filter((tcb) => tcb.state === 'TIME-WAIT');
      this.#tombstones.splice(0, this.#tombstones.length, ...alive);
    }
  }

  strayed(segment: Segment): void {
    const ip = this.#ip;
    if (ip === undefined) {
      return;
    }
    this.counters.strayed += 1;
    this.#answerByReset(segment, ip);
  }

  #answerByReset(segment: Segment, ip: IpHeader): void {
    const stray = {frame: segment.frame, ip, tcp: this.#header};
    const reset = buildStrayReset(this.#shared.writer, stray, segment.textLength);
    if (reset !== undefined) {
      this.#shared.control.push(reset);
    }
  }

  /** Forgets all connections. Calls no handler, sends nothing. */
  clear(): void {
    for (const tcb of this.#table) {
      tcb.state = 'CLOSED';
      this.#release(tcb);
    }
    this.#table.clear();
    this.#timers.clear();
    this.#dirty.length = 0;
    this.#tombstones.length = 0;
    this.#pending = 0;
    this.#timeWait = 0;
    this.outOfOrderBytes = 0;
  }
}

function isClosed(tcb: Tcb): boolean {
  return tcb.state === 'CLOSED';
}

function isIntact(frame: Octets, ip: IpHeader): boolean {
  const address = ip.version === 4 ? 4 : 16;
  const pseudo = sumWords(frame, ip.sourceAt, address * 2) + ip.protocol + ip.payloadLength;
  return fold(pseudo + sumWords(frame, ip.payloadAt, ip.payloadLength)) === 0xffff;
}

/** A program that connects to itself, by an address that routes here: there is nobody to dial. */
function isSelfConnect(key: Tcb['key']): boolean {
  return (
    key.ports >>> 16 === (key.ports & 0xffff) &&
    key.source0 === key.destination0 &&
    key.source1 === key.destination1 &&
    key.source2 === key.destination2 &&
    key.source3 === key.destination3
  );
}
