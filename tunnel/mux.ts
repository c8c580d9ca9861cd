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
 * The parts: `frames` (bytes), `handshake`, `stream` (states), `credit` (who may send how much),
 * `outbox` and `datagrams` (what waits), `scheduler` (what goes next), `liveness`, `rate`, `resume`.
 */

import {deliver} from './deliver.ts';
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
  parseKind,
  readOffset,
  readUint16,
} from './frames.ts';
import {
  answerHello,
  CAPABILITY,
  emitHello,
  emitWelcome,
  isSameToken,
  parseWelcome,
  type Terms,
  TOKEN_BYTES,
  VERSIONS,
} from './handshake.ts';
import {
  BODY_BYTES,
  DEFAULT_LIMITS,
  HANDSHAKE_TIMEOUT_MS,
  INITIAL_WINDOW_BYTES,
  type Limits,
  PING_BURST,
  PINGS_PER_SECOND,
  RESUME_ANSWER_MS,
  RESUME_TICKET_BYTES,
  SUSPENDED_POLL_MS,
  WINDOW_BUDGET_BYTES,
} from './limits.ts';
import {Liveness} from './liveness.ts';
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
import {emitResume, parseResume} from './resume-frames.ts';
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
  readonly #limits: Limits;
  readonly #verifyToken: (token: Uint8Array) => boolean;
  readonly #handshakeTimeoutMs: number;
  readonly #streams: StreamTable;
  readonly #egress: Egress;
  readonly #frame: FrameView = {type: 0, stream: 0, start: 0, end: 0};
  readonly #pings = new TokenBucket(PING_BURST, PINGS_PER_SECOND);

  #state: 'greeting' | 'ready' | 'suspended' | 'resuming' | 'closed' = 'greeting';
  #peer: PeerInfo | undefined;
  #liveness: Liveness | undefined;
  #startedAt: number | undefined;
  /** Set by the handshake, if there is to be one. */
  #resume: Resume | undefined;
  #successor: Resumable | undefined;
  #lostAt = 0;
  #resumingAt = 0;
  /** What goes out before anything else may: HELLO or WELCOME first, CLOSE last. */
  #urgent: Uint8Array | undefined;

  /** Throws RangeError when the token is not 32 bytes long, or there is none where one is needed. */
  constructor(options: MuxOptions, handler: MuxHandler) {
    const token = options.token ?? new Uint8Array(0);
    const needsToken = options.role === 'layer' || options.verifyToken === undefined;
    if (needsToken && token.length !== TOKEN_BYTES) throw new RangeError('a token has 32 bytes');
    this.#verifyToken = options.verifyToken ?? ((shown) => isSameToken(shown, token));
    this.#options = options;
    this.#handler = handler;
    this.#limits = {...DEFAULT_LIMITS, ...options.limits};
    this.#handshakeTimeoutMs = options.handshakeTimeoutMs ?? HANDSHAKE_TIMEOUT_MS;
    this.#streams = new StreamTable(options.role, this.#limits);
    this.#egress = new Egress(this.#streams, {
      windowBudgetBytes: options.windowBudgetBytes ?? WINDOW_BUDGET_BYTES,
      counters: this.counters,
    });
    if (options.role === 'layer') {
      this.#urgent = emitHello({...VERSIONS, token, ...this.#terms()});
    }
  }

  /** Called when `transmit` has something after it had nothing. Set by the driver. */
  set onPending(call: (() => void) | undefined) {
    this.#egress.onPending = call;
  }

  get isReady(): boolean {
    return this.#state === 'ready';
  }

  get isClosed(): boolean {
    return this.#state === 'closed';
  }

  /** Whether the connection is lost and the session waits for another one. */
  get isSuspended(): boolean {
    return this.#state === 'suspended';
  }

  /** Whether the session outlives its connection. */
  get isResumable(): boolean {
    return this.#resume !== undefined && this.#state !== 'closed';
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
    return this.#liveness?.minRttMs;
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
    if (this.#state === 'closed') throw new ProtocolError('CONNECTION_LOST');
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
    if (this.#state === 'closed' || this.#state === 'suspended') return;
    this.counters.messagesIn++;
    this.counters.bytesIn += message.length;
    this.#liveness?.heard(now);
    const isCounted = this.#state === 'ready' && !isBareAck(message);
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
    if (this.#state === 'closed') return;
    if (this.#state === 'greeting' || this.#resume === undefined) this.close('CONNECTION_LOST');
    else this.#suspend(now);
  }

  /** Notes that the layer has another connection, maybe before it has lost the last one. */
  reconnected(now: number): void {
    this.#tick(now);
    if (this.#resume === undefined || this.#state === 'closed') return;
    this.#suspend(now);
    if (this.isClosed) return;
    this.#state = 'resuming';
    this.#resumingAt = now;
    this.#urgent = emitResume({
      version: this.#peer?.version ?? VERSIONS.highest,
      token: this.#options.token ?? new Uint8Array(0),
      ticket: this.#resume.ticket,
      received: this.#resume.received,
    });
  }

  resumeWith(received: number, now: number): void {
    if (this.#resume === undefined || this.#state === 'closed') {
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
    if (this.#state === 'closed') return;
    if (this.#state === 'greeting') {
      if (now - (this.#startedAt ?? now) >= this.#handshakeTimeoutMs) {
        this.#fail(new ProtocolError('HANDSHAKE_TIMEOUT'));
      }
      return;
    }
    if (this.#state !== 'ready') {
      if (now - this.#lostAt >= (this.#options.resume?.windowMs ?? 0)) {
        this.#fail(new ProtocolError('RESUME_TIMEOUT'));
      } else if (this.#state === 'resuming' && now - this.#resumingAt >= RESUME_ANSWER_MS) {
        this.#suspend(now);
      }
      return;
    }
    const action = this.#liveness?.poll(now);
    if (action === 'dead') {
      if (this.#resume === undefined) this.#fail(new ProtocolError('PEER_DEAD'));
      else this.#suspend(now);
    }
    if (action === 'ping') this.#ping(now);
  }

  /** Returns when `transmit` or, if the connection takes nothing, `poll` is to be called. */
  pollAt(): number | undefined {
    const {now, isPending} = this.#egress;
    if (this.#urgent !== undefined) return now;
    if (this.#state === 'suspended' || this.#state === 'resuming') {
      const overAt = this.#lostAt + (this.#options.resume?.windowMs ?? 0);
      return Math.min(overAt, now + SUSPENDED_POLL_MS);
    }
    if (isPending && this.#resume?.isFull !== true) return now;
    if (this.#state === 'closed') return undefined;
    if (this.#liveness !== undefined) {
      return Math.min(this.#liveness.pollAt(), this.#resume?.nextAt(now) ?? Infinity);
    }
    return this.#startedAt === undefined
      ? this.#egress.now
      : this.#startedAt + this.#handshakeTimeoutMs;
  }

  /** Ends the tunnel, its streams with it. The handler hears of it, as of any end. */
  close(code: ProtocolCode = 'NO_ERROR'): void {
    this.#fail(new ProtocolError(code));
  }

  [Symbol.dispose](): void {
    this.close();
  }

  // ---- receiving ----

  #dispatch(message: Uint8Array): void {
    const {type, stream: id, start, end} = this.#frame;
    this.counters.framesIn++;
    if (type === FRAME.close) {
      throw new ProtocolError(codeFromNumber(readUint16(message, start)), 'peer');
    }
    if (this.#state === 'greeting') {
      this.#greet(type, message.subarray(start, end));
    } else if (this.#state === 'resuming') {
      if (type !== FRAME.resumed) throw new ProtocolError('HANDSHAKE_EXPECTED');
      this.#continue(readOffset(message, start));
    } else if (type === FRAME.ack && this.#resume !== undefined) {
      this.#resume.acknowledge(readOffset(message, start));
    } else if (type === FRAME.ping) {
      if (!this.#pings.take(this.#egress.now)) throw new ProtocolError('PING_RATE');
      this.#egress.pushControl(emitPing(FRAME.pong, message.subarray(start, end)));
    } else if (type === FRAME.pong) {
      this.#liveness?.pong(message.subarray(start, end), this.#egress.now);
      this.#egress.minRttMs = this.#liveness?.minRttMs ?? 0;
    } else if (type === FRAME.open) {
      this.#offer(message);
    } else if (id === 0) {
      throw new ProtocolError('FRAME_MALFORMED');
    } else {
      const stream = this.#streams.get(id);
      if (stream === undefined) {
        this.#streams.checkKnown(id);
        this.counters.framesIgnored++;
      } else {
        deliver(stream, message, this.#frame, this.#limits.datagramBytes);
      }
    }
  }

  #greet(type: number, payload: Uint8Array): void {
    if (this.#options.role === 'layer') {
      if (type !== FRAME.welcome) throw new ProtocolError('HANDSHAKE_EXPECTED');
      const welcome = parseWelcome(payload);
      this.#becomeReady(welcome, welcome.ticket);
      return;
    }
    if (type === FRAME.resume) {
      this.#handOver(payload);
      return;
    }
    if (type !== FRAME.hello) throw new ProtocolError('HANDSHAKE_EXPECTED');
    const {welcome, hello} = answerHello(payload, this.#verifyToken, this.#terms());
    const mayResume = (hello.capabilities & CAPABILITY.resume) !== 0;
    const tickets = mayResume ? this.#options.resume?.tickets : undefined;
    const ticket = tickets?.issue(this, this.#options.random) ?? welcome.ticket;
    this.#urgent = emitWelcome({...welcome, ticket});
    this.#becomeReady({...hello, version: welcome.version}, ticket);
  }

  /** Gives the connection to the session that it was made for. */
  #handOver(payload: Uint8Array): void {
    const {token, ticket, received} = parseResume(payload);
    if (!this.#verifyToken(token)) throw new ProtocolError('BAD_TOKEN');
    const session = this.#options.resume?.tickets?.find(ticket);
    if (session === undefined) throw new ProtocolError('RESUME_UNKNOWN');
    session.resumeWith(received, this.#egress.now);
    this.#state = 'closed';
    this.#successor = session;
  }

  #suspend(now: number): void {
    if (this.#state === 'ready') {
      this.#lostAt = now;
      this.counters.suspended++;
      this.#handler.onSuspended?.();
      // Whoever hears of it may have closed the tunnel.
      if (this.isClosed) return;
    }
    this.#state = 'suspended';
    this.#urgent = undefined;
  }

  /** Goes on over a new connection, whose peer has received so many messages. */
  #continue(received: number): void {
    this.#resume?.restart(received);
    this.#state = 'ready';
    this.#liveness?.restart(this.#egress.now);
    this.counters.resumed++;
    this.#handler.onResumed?.();
  }

  /** Returns what goes out when nothing is urgent. */
  #next(now: number): Uint8Array | undefined {
    const resume = this.#resume;
    if (resume === undefined) return this.#egress.next();
    if (this.#state !== 'ready') return undefined;
    const ack = resume.takeAck(now);
    if (ack !== undefined) return ack;
    const unsent = resume.takeUnsent();
    if (unsent !== undefined) {
      this.counters.messagesResent++;
      return unsent;
    }
    if (resume.isFull) {
      this.counters.retentionStalls++;
      return undefined;
    }
    const message = this.#egress.next();
    return message && resume.keep(message);
  }

  #becomeReady(peer: PeerInfo, ticket: Uint8Array): void {
    this.#state = 'ready';
    if (this.#options.resume !== undefined && ticket.length === RESUME_TICKET_BYTES) {
      this.#resume = new Resume(ticket, this.#egress.pool);
    }
    this.#peer = {
      version: peer.version,
      capabilities: peer.capabilities,
      limits: peer.limits,
    };
    this.#streams.setPeerLimits(peer.limits);
    this.#egress.datagramBytes = peer.limits.datagramBytes;
    this.#liveness = new Liveness(this.#options.random, this.#egress.now);
    this.#ping(this.#egress.now);
    this.#egress.open();
    this.#handler.onReady?.(this.#peer);
    for (const stream of this.#streams.all()) stream.onCredit(peer.limits.earlyBytes);
  }

  #offer(message: Uint8Array): void {
    const {stream: id, start, end} = this.#frame;
    this.#streams.checkOffer(id, this.#egress.now);
    const stream = new Stream(this.#egress, {
      id,
      kind: parseKind(message, start),
      state: 'offered',
      receiveLimit: this.#limits.earlyBytes,
      windowBytes: this.#limits.earlyBytes,
      sendLimit: readOffset(message, start + 1),
    });
    this.#streams.addOffered(stream);
    this.counters.streamsAccepted++;
    if (this.#handler.onOpen === undefined) stream.refuse('EOPNOTSUPP');
    else this.#handler.onOpen(stream, message.slice(start + 9, end));
  }

  #ping(now: number): void {
    if (this.#liveness === undefined) return;
    this.#egress.pushControl(emitPing(FRAME.ping, this.#liveness.nextNonce(now)));
  }

  #terms(): Terms {
    return {
      capabilities:
        (this.#options.capabilities ?? 0) | (this.#options.resume ? CAPABILITY.resume : 0),
      limits: this.#limits,
      ticket: new Uint8Array(0),
    };
  }

  #tick(now: number): void {
    this.#startedAt ??= now;
    this.#egress.tick(now);
  }

  #fail(error: ProtocolError): void {
    if (this.#state === 'closed') return;
    // Without a connection nobody hears of it.
    const isAlone = this.#state === 'suspended' || this.#state === 'resuming';
    this.#state = 'closed';
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
