/**
 * The multiplexer: many streams over one connection that carries whole messages in order.
 *
 * Theory of operation. Sans-IO: `receive` takes a message and calls handlers; `transmit` returns
 * the next message until there is none; `poll` looks at the clock, and `pollAt` says when it wants
 * to. `onPending` tells the driver that there is something to transmit after there was nothing.
 * All times are milliseconds of one monotonic clock.
 *
 * Life: *greeting* (the layer has sent HELLO, the agent waits for it; streams may be opened but
 * nothing of them is sent) → *ready* → *closed*. A breach of the protocol by the peer, a dead peer
 * and `close` all lead to *closed* the same way: every stream is reset, the handler hears why, and
 * one CLOSE with the code is left for `transmit`. Nothing is ever called after `onClose`.
 *
 * When the handshake has agreed on it, a lost connection (`disconnected`, or a peer that is silent for too
 * long) only leads from *ready* to *suspended*: streams and their credit stay, what is written waits within
 * it, the peer is not asked for signs of life. The layer's driver then brings a new connection
 * (`reconnected`): *resuming* until the agent has answered RESUME, and *ready* again. The agent's
 * end of the new connection is another multiplexer at first: one that is greeted with RESUME hands its
 * connection over to the session that is meant (`successor`). What is resent is up to `resume`.
 *
 * The parts: `frames` (bytes), `greeting` and `handshake` (the first words), `life` and `liveness` (states and
 * clock), `ingress` (what came), `bulk` (what is still coming), `stream` (states of one), `credit` (who may send how much), `outbox` and
 * `datagrams` (what waits), `egress` and `scheduler` (what goes next), `rate`, `resume`.
 */

import {Bulk, isBulk} from './bulk.ts';
import {Egress} from './egress.ts';
import {codeFromNumber, PROTOCOL_CODES, type ProtocolCode, ProtocolError} from './errors.ts';
import {
  emitClose,
  emitOffset,
  emitOpen,
  emitPing,
  FRAME,
  type FrameView,
  parseFrame,
  readOffset,
  readUint16,
} from './frames.ts';
import {Greeting} from './greeting.ts';
import {Ingress} from './ingress.ts';
import {Life} from './life.ts';
import {
  BODY_BYTES,
  DEFAULT_LIMITS,
  INITIAL_WINDOW_BYTES,
  type Limits,
  PING_BURST,
  PINGS_PER_SECOND,
  RESUME_TICKET_BYTES,
  WINDOW_BUDGET_BYTES,
} from './limits.ts';
import {
  type MuxCounters,
  type MuxHandler,
  type MuxOptions,
  newCounters,
  type PeerInfo,
  type Resumable,
} from './mux-types.ts';
import {TokenBucket} from './rate.ts';
import {isBareAck, Resume} from './resume.ts';
import {Stream} from './stream.ts';
import {StreamTable} from './stream-table.ts';
import type {MuxStream, StreamHandler, StreamKind} from './types.ts';

/** The errno of a stream whose tunnel is gone. */
const TUNNEL_GONE_ERRNO = 'ECONNRESET';

/** One side of a tunnel. */
export class Mux implements Disposable, Resumable {
  readonly counters: MuxCounters = newCounters();

  readonly #options: MuxOptions;
  readonly #handler: MuxHandler;
  readonly #greeting: Greeting;
  readonly #life: Life;
  readonly #streams: StreamTable;
  readonly #egress: Egress;
  readonly #ingress: Ingress;
  readonly #frame: FrameView = {type: 0, stream: 0, start: 0, end: 0};
  readonly #bulk = new Bulk();
  readonly #pings = new TokenBucket(PING_BURST, PINGS_PER_SECOND);

  #peer: PeerInfo | undefined;
  /** Set by the handshake, if there is to be one. */
  #resume: Resume | undefined;
  #successor: Resumable | undefined;
  /** What goes out before anything else may: HELLO or WELCOME first, CLOSE last. */
  #urgent: Uint8Array | undefined;

  /** Throws RangeError when the token is not 32 bytes long, or there is none where one is needed. */
  constructor(options: MuxOptions, handler: MuxHandler) {
    const limits: Limits = {...DEFAULT_LIMITS, ...options.limits};
    const {random, handshakeTimeoutMs, resume} = options;
    this.#options = options;
    this.#handler = handler;
    this.#greeting = new Greeting(options, limits);
    this.#life = new Life({random, handshakeTimeoutMs, resumeWindowMs: resume?.windowMs ?? 0});
    this.#streams = new StreamTable(options.role, limits);
    this.#egress = new Egress(this.#streams, {
      windowBudgetBytes: options.windowBudgetBytes ?? WINDOW_BUDGET_BYTES,
      counters: this.counters,
      memory: options.memory,
    });
    this.#ingress = new Ingress(this.#streams, this.#egress, limits);
    this.#urgent = this.#greeting.hello();
  }

  /** Called when `transmit` has something after it had nothing. Set by the driver. */
  set onHurry(call: (() => void) | undefined) {
    this.#egress.onHurry = call;
  }

  set onPending(call: (() => void) | undefined) {
    this.#egress.onPending = call;
  }

  get isReady(): boolean {
    return this.#life.isReady;
  }

  get isClosed(): boolean {
    return this.#life.isClosed;
  }

  /** Whether the connection is lost and the session waits for another one. */
  get isSuspended(): boolean {
    return this.#life.isSuspended;
  }

  /** Whether the session outlives its connection. */
  get isResumable(): boolean {
    return this.#resume !== undefined && !this.isClosed;
  }

  /** The session that has taken the connection over; this multiplexer is closed then. */
  get successor(): Resumable | undefined {
    return this.#successor;
  }

  /** Messages that are kept until the peer has acknowledged them. */
  get unacknowledged(): number {
    return this.#resume?.keptCount ?? 0;
  }

  /** What the peer said about itself; undefined before `onReady`. */
  get peer(): PeerInfo | undefined {
    return this.#peer;
  }

  /** The smallest round trip measured so far, in ms. */
  get minRttMs(): number | undefined {
    return this.#life.minRttMs;
  }

  /** Streams that are open now, of both sides. */
  get streamCount(): number {
    return this.#streams.size;
  }

  /** The sum of what all peers' windows allow, in bytes. */
  get windowBytes(): number {
    return this.#egress.budget.bytes;
  }

  /** Bytes that wait here for the connection. */
  get queuedBytes(): number {
    return this.#egress.pool.queuedBytes;
  }

  /**
   * Opens a stream. `receiveWindow` is the credit for the answer. Early bytes and datagrams may be
   * written at once. Above the peer's limits the stream is refused with EAGAIN. Throws
   * ProtocolError CONNECTION_LOST when the tunnel is closed, RangeError for a long body.
   */
  open(
    kind: StreamKind,
    body: Uint8Array,
    handler: StreamHandler,
    receiveWindow: number = INITIAL_WINDOW_BYTES,
  ): MuxStream {
    if (this.isClosed) throw new ProtocolError('CONNECTION_LOST');
    if (body.length > BODY_BYTES) throw new RangeError('the body is too long');
    const isAllowed = this.#streams.mayOpen(this.#egress.now);
    const stream = new Stream(this.#egress, {
      id: this.#streams.nextId,
      kind,
      state: isAllowed ? 'opening' : 'barred',
      receiveLimit: receiveWindow,
      windowBytes: receiveWindow,
      sendLimit: this.#peer?.limits.earlyBytes ?? 0,
    });
    stream.handler = handler;
    if (isAllowed) {
      this.#streams.addOwn(stream);
      this.counters.streamsOpened++;
      this.#egress.pushControl(emitOpen(stream.id, {kind, credit: receiveWindow, body}));
    } else {
      this.#egress.pushRefused(stream);
    }
    return stream;
  }

  /**
   * Takes a message and calls handlers; the caller must not use its memory again. A breach of the
   * protocol does not throw: it closes the tunnel. What a handler throws comes through.
   */
  receive(message: Uint8Array, now: number): void {
    this.#tick(now);
    if (this.isClosed || this.isSuspended) return;
    const isCounted = this.isReady && !isBareAck(message);
    if (isCounted && this.#bulk.isUnderWay) {
      // The last connection was lost in the middle of it.
      if (isBulk(message, message.length)) this.receiveBulk(message, message.length, now);
      else this.close('RESUME_COUNT');
      return;
    }
    this.counters.messagesIn++;
    this.counters.bytesIn += message.length;
    this.#life.heard(now);
    if (isCounted) this.#resume?.noteReceived(message.length, now);
    try {
      let offset = 0;
      while (offset < message.length && !this.isClosed) {
        parseFrame(message, offset, this.#frame);
        offset = this.#frame.end;
        this.#dispatch(message);
      }
      if (this.#egress.isFlooded) throw new ProtocolError('CONTROL_BACKLOG');
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#fail(error);
    }
    this.#egress.settle();
  }

  /**
   * Takes a piece of a message of `messageBytes` that `isBulk`, as `receive` takes whole ones; the first
   * piece has the frame's header. The other pieces must follow, unless the connection is lost.
   */
  receiveBulk(piece: Uint8Array, messageBytes: number, now: number): void {
    this.#tick(now);
    if (this.isClosed || this.isSuspended) return;
    this.counters.bytesIn += piece.length;
    this.#life.heard(now);
    try {
      if (!this.isReady) throw new ProtocolError('HANDSHAKE_EXPECTED');
      const frame = this.#frame;
      const payload = this.#bulk.take(piece, messageBytes, frame);
      const isOver = this.#bulk.isOver();
      if (isOver) {
        this.counters.messagesIn++;
        this.counters.framesIn++;
        this.#resume?.noteReceived(messageBytes, now);
      }
      frame.start = 0;
      frame.end = payload.length;
      if (payload.length > 0) this.#ingress.take(payload, frame, this.#handler);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#fail(error);
    }
    this.#egress.settle();
  }

  /**
   * Returns the next message, or undefined when there is none. Its memory belongs to the caller,
   * who may give it to `recycle`. The first call for a closed tunnel returns its CLOSE.
   */
  transmit(now: number): Uint8Array | undefined {
    this.poll(now);
    const message = this.#urgent ?? this.#next(now);
    this.#urgent = undefined;
    if (message !== undefined) {
      this.counters.messagesOut++;
      this.counters.bytesOut += message.length;
    }
    this.#egress.settle();
    return message;
  }

  /** Gives the memory of a transmitted message back, when nobody reads it any more. */
  recycle(message: Uint8Array): void {
    if (this.#resume === undefined) this.#egress.pool.give(message);
    // It may have to be sent again.
    else this.#resume.mayRecycle = true;
  }

  /** Notes that there is no connection any more. What has not left with it is sent again, or never. */
  disconnected(now: number): void {
    this.#tick(now);
    if (this.isClosed) return;
    if (this.#life.isGreeting || this.#resume === undefined) this.close('CONNECTION_LOST');
    else this.#suspend(now);
  }

  /** Notes that the layer has another connection, maybe before it has lost the last one. */
  reconnected(now: number): void {
    this.#tick(now);
    if (this.#resume === undefined || this.isClosed) return;
    this.#suspend(now);
    if (this.isClosed) return;
    this.#life.startResuming(now);
    this.#urgent = this.#greeting.resume(this.#peer?.version ?? 0, this.#resume);
  }

  resumeWith(received: number, now: number): void {
    if (this.#resume === undefined || this.isClosed) {
      throw new ProtocolError('RESUME_UNKNOWN');
    }
    this.#resume.check(received);
    this.#tick(now);
    // The layer may have noticed the loss earlier.
    this.#suspend(now);
    if (this.isClosed) throw new ProtocolError('RESUME_UNKNOWN');
    this.#urgent = emitOffset(FRAME.resumed, 0, this.#resume.received);
    this.#continue(received);
  }

  /** Looks at the clock: pings, and notices a dead peer or a missing handshake. */
  poll(now: number): void {
    this.#tick(now);
    const demand = this.#life.poll(now);
    if (demand === 'ping') this.#ping(now);
    else if (demand === 'suspend') this.#suspend(now);
    else if (demand !== undefined) this.#fail(new ProtocolError(demand));
  }

  /** Returns when `transmit` or, if the connection takes nothing, `poll` is to be called. */
  pollAt(): number | undefined {
    const {now, isPending} = this.#egress;
    if (this.#urgent !== undefined) return now;
    const pollAt = this.#life.pollAt(now);
    if (this.#life.isAlone) return pollAt;
    if (isPending && this.#resume?.isFull !== true) return now;
    if (pollAt === undefined || !this.isReady) return pollAt;
    return Math.min(pollAt, this.#resume?.nextAt(now) ?? Infinity);
  }

  /** Ends the tunnel, its streams with it. The handler hears of it, as of any end. `origin`: who noticed. */
  close(code: ProtocolCode = 'NO_ERROR', origin: 'here' | 'peer' = 'here'): void {
    this.#fail(new ProtocolError(code, origin));
  }

  [Symbol.dispose](): void {
    this.close();
  }

  // ---- receiving ----

  #dispatch(message: Uint8Array): void {
    const {type, start, end} = this.#frame;
    this.counters.framesIn++;
    if (type === FRAME.close) {
      throw new ProtocolError(codeFromNumber(readUint16(message, start)), 'peer');
    }
    if (this.#life.isGreeting) {
      this.#greet(type, message.subarray(start, end));
    } else if (this.#life.isResuming) {
      if (type !== FRAME.resumed) throw new ProtocolError('HANDSHAKE_EXPECTED');
      this.#continue(readOffset(message, start));
    } else if (type === FRAME.ack && this.#resume !== undefined) {
      this.#resume.acknowledge(readOffset(message, start));
    } else if (type === FRAME.ping) {
      if (!this.#pings.take(this.#egress.now)) throw new ProtocolError('PING_RATE');
      this.#egress.pushControl(emitPing(FRAME.pong, message.subarray(start, end)));
    } else if (type === FRAME.pong) {
      this.#life.pong(message.subarray(start, end), this.#egress.now);
      this.#egress.minRttMs = this.#life.minRttMs ?? 0;
    } else {
      this.#ingress.take(message, this.#frame, this.#handler);
    }
  }

  #greet(type: number, payload: Uint8Array): void {
    const greeted = this.#greeting.read(type, payload, this);
    if (greeted.kind === 'peer') {
      this.#urgent = greeted.answer;
      this.#becomeReady(greeted.peer, greeted.ticket);
    } else {
      // The connection was made for another session.
      greeted.session.resumeWith(greeted.received, this.#egress.now);
      this.#life.close();
      this.#successor = greeted.session;
    }
  }

  #suspend(now: number): void {
    if (this.isReady) {
      this.#life.noteLoss(now);
      this.counters.suspended++;
      this.#handler.onSuspended?.();
      // Whoever hears of it may have closed the tunnel.
      if (this.isClosed) return;
    }
    this.#life.suspend();
    this.#bulk.interrupt();
    this.#urgent = undefined;
  }

  /** Goes on over a new connection, whose peer has received so many messages. */
  #continue(received: number): void {
    this.#resume?.restart(received);
    this.#life.resume(this.#egress.now);
    this.counters.resumed++;
    this.#handler.onResumed?.();
  }

  /** Returns what goes out when nothing is urgent. */
  #next(now: number): Uint8Array | undefined {
    if (this.#resume === undefined) return this.#egress.next();
    return this.isReady ? this.#resume.next(now, this.#egress) : undefined;
  }

  #becomeReady(peer: PeerInfo, ticket: Uint8Array): void {
    if (this.#options.resume !== undefined && ticket.length === RESUME_TICKET_BYTES) {
      this.#resume = new Resume(ticket, this.#egress.pool, this.#options.memory?.kept);
    }
    this.#peer = {
      version: peer.version,
      capabilities: peer.capabilities,
      limits: peer.limits,
    };
    this.#streams.setPeerLimits(peer.limits);
    this.#egress.datagramBytes = peer.limits.datagramBytes;
    this.#life.becomeReady(this.#egress.now, this.#resume !== undefined);
    this.#ping(this.#egress.now);
    this.#egress.open();
    this.#handler.onReady?.(this.#peer);
    for (const stream of this.#streams.all()) stream.onCredit(peer.limits.earlyBytes);
  }

  #ping(now: number): void {
    const nonce = this.#life.nextNonce(now);
    if (nonce !== undefined) this.#egress.pushControl(emitPing(FRAME.ping, nonce));
  }

  #tick(now: number): void {
    this.#life.tick(now);
    this.#egress.tick(now);
  }

  #fail(error: ProtocolError): void {
    if (this.isClosed) return;
    // Without a connection nobody hears of it.
    const {isAlone} = this.#life;
    this.#life.close();
    this.#egress.shut();
    if (this.#resume !== undefined) {
      this.#resume.clear();
      this.#options.resume?.tickets?.forget(this.#resume.ticket);
    }
    // The peer's own CLOSE needs no answer, a lost connection takes none.
    const isMute = isAlone || error.origin === 'peer' || error.code === 'CONNECTION_LOST';
    this.#urgent = isMute ? undefined : emitClose(PROTOCOL_CODES[error.code].number);
    for (const stream of this.#streams.all()) stream.onReset(TUNNEL_GONE_ERRNO);
    this.#egress.settle();
    this.#handler.onClose?.(error.code === 'NO_ERROR' ? undefined : error);
    this.#egress.onPending?.();
  }
}
