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
 * What resume will need has its place: the ticket in the handshake, and `recycle`, which is where
 * a message may be forgotten; today that is when it has left this process.
 *
 * The parts: `frames` (bytes), `handshake`, `stream` (states), `credit` (who may send how much),
 * `outbox` and `datagrams` (what waits), `scheduler` (what goes next), `liveness`, `rate`.
 */

import {deliver} from './deliver.ts';
import {Egress} from './egress.ts';
import {codeFromNumber, PROTOCOL_CODES, type ProtocolCode, ProtocolError} from './errors.ts';
import {
  emitClose,
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
  WINDOW_BUDGET_BYTES,
} from './limits.ts';
import {Liveness} from './liveness.ts';
import {
  type MuxCounters,
  type MuxHandler,
  type MuxOptions,
  newCounters,
  type PeerInfo,
} from './mux-types.ts';
import {TokenBucket} from './rate.ts';
import {Stream} from './stream.ts';
import {StreamTable} from './stream-table.ts';
import type {MuxStream, StreamHandler, StreamKind} from './types.ts';

/** The errno of a stream whose tunnel is gone. */
const TUNNEL_GONE_ERRNO = 'ECONNRESET';

/** One side of a tunnel. */
export class Mux implements Disposable {
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

  #state: 'greeting' | 'ready' | 'closed' = 'greeting';
  #peer: PeerInfo | undefined;
  #liveness: Liveness | undefined;
  #startedAt: number | undefined;
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
    if (this.#state === 'closed') return;
    this.counters.messagesIn++;
    this.counters.bytesIn += message.length;
    this.#liveness?.heard(now);
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
    const message = this.#urgent ?? this.#egress.next();
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
    this.#egress.pool.give(message);
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
    const action = this.#liveness?.poll(now);
    if (action === 'dead') this.#fail(new ProtocolError('PEER_DEAD'));
    if (action === 'ping') this.#ping(now);
  }

  /** Returns when `transmit` or, if the connection takes nothing, `poll` is to be called. */
  pollAt(): number | undefined {
    if (this.#urgent !== undefined || this.#egress.isPending) return this.#egress.now;
    if (this.#state === 'closed') return undefined;
    if (this.#liveness !== undefined) return this.#liveness.pollAt();
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
      this.#becomeReady(parseWelcome(payload));
      return;
    }
    if (type !== FRAME.hello) throw new ProtocolError('HANDSHAKE_EXPECTED');
    const {welcome, hello} = answerHello(payload, this.#verifyToken, this.#terms());
    this.#urgent = emitWelcome(welcome);
    this.#becomeReady({...hello, version: welcome.version});
  }

  #becomeReady(peer: PeerInfo): void {
    this.#state = 'ready';
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
      capabilities: this.#options.capabilities ?? 0,
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
    this.#state = 'closed';
    this.#egress.shut();
    // The peer's own CLOSE needs no answer, a lost connection takes none.
    const isMute = error.origin === 'peer' || error.code === 'CONNECTION_LOST';
    this.#urgent = isMute ? undefined : emitClose(PROTOCOL_CODES[error.code].number);
    for (const stream of this.#streams.all()) stream.onReset(TUNNEL_GONE_ERRNO);
    this.#egress.settle();
    this.#handler.onClose?.(error.code === 'NO_ERROR' ? undefined : error);
    this.#egress.onPending?.();
  }
}
