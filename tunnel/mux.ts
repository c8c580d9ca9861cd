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

import {WindowBudget} from './credit.ts';
import {codeFromNumber, PROTOCOL_CODES, type ProtocolCode, ProtocolError} from './errors.ts';
import {
  emitClose,
  emitOpen,
  emitPing,
  FRAME,
  type FrameView,
  parseErrno,
  parseFrame,
  parseKind,
  readOffset,
  readUint16,
} from './frames.ts';
import {
  answerHello,
  emitHello,
  emitWelcome,
  parseWelcome,
  type Terms,
  TOKEN_BYTES,
  VERSIONS,
} from './handshake.ts';
import {
  BODY_BYTES,
  COPY_OUT_BYTES,
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
import {FramePool} from './outbox.ts';
import {FrameSizer, TokenBucket} from './rate.ts';
import {Ring} from './ring.ts';
import {Scheduler} from './scheduler.ts';
import {Stream, type StreamHost} from './stream.ts';
import type {MuxStream, StreamHandler, StreamKind} from './types.ts';

/** The errno of a stream whose tunnel is gone. */
const TUNNEL_GONE_ERRNO = 'ECONNRESET';
const LAST_STREAM_ID = 0x7fff_ffff;

/** One side of a tunnel. */
export class Mux implements Disposable {
  /** Called when `transmit` has something after it had nothing. Set by the driver. */
  onPending: (() => void) | undefined;
  readonly counters: MuxCounters = newCounters();

  readonly #options: MuxOptions;
  readonly #handler: MuxHandler;
  readonly #limits: Limits;
  readonly #handshakeTimeoutMs: number;
  readonly #streams = new Map<number, Stream>();
  readonly #pool = new FramePool();
  readonly #scheduler = new Scheduler(this.#pool);
  readonly #budget: WindowBudget;
  readonly #sizer = new FrameSizer();
  readonly #settling = new Ring<Stream>();
  readonly #refusals = new Ring<Stream>();
  readonly #host: StreamHost;
  readonly #frame: FrameView = {type: 0, stream: 0, start: 0, end: 0};
  readonly #pings = new TokenBucket(PING_BURST, PINGS_PER_SECOND);
  readonly #peerOpens: TokenBucket;
  #ownOpens: TokenBucket | undefined;

  #state: 'greeting' | 'ready' | 'closed' = 'greeting';
  #peer: PeerInfo | undefined;
  #liveness: Liveness | undefined;
  #startedAt: number | undefined;
  #now = 0;
  #isPending = false;
  /** Whether time may have passed since `#now`: nothing was pending, then something came. */
  #isNowOld = true;
  /** Frames that go out before anything else may: HELLO, and CLOSE as the last one. */
  #urgent: Uint8Array | undefined;
  #nextId: number;
  #peerId: number;
  #openedByPeer = 0;

  /** Throws RangeError when the token is not 32 bytes long. */
  constructor(options: MuxOptions, handler: MuxHandler) {
    if (options.token.length !== TOKEN_BYTES) throw new RangeError('a token has 32 bytes');
    this.#options = options;
    this.#handler = handler;
    this.#limits = {...DEFAULT_LIMITS, ...options.limits};
    this.#handshakeTimeoutMs = options.handshakeTimeoutMs ?? HANDSHAKE_TIMEOUT_MS;
    this.#budget = new WindowBudget(options.windowBudgetBytes ?? WINDOW_BUDGET_BYTES);
    // What the network delayed arrives at once: the peer saves up twice what it promised.
    this.#peerOpens = new TokenBucket(2 * this.#limits.streams, 2 * this.#limits.opensPerSecond);
    // Odd ids are the layer's, even ones the agent's; 0 is the tunnel.
    this.#nextId = options.role === 'layer' ? 1 : 2;
    this.#peerId = options.role === 'layer' ? 0 : -1;
    this.#host = this.#makeHost();
    if (options.role === 'layer') {
      const {token} = options;
      this.#urgent = emitHello({...VERSIONS, token, ...this.#terms()});
      this.#isPending = true;
    }
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
    return this.#budget.bytes;
  }

  /** Bytes that wait here for the connection. */
  get queuedBytes(): number {
    return this.#pool.queuedBytes;
  }

  /**
   * Opens a stream. `receiveWindow` is the credit for the answer. Early bytes and datagrams may be
   * written at once. Above the peer's limits the stream is refused with EMFILE or EAGAIN. Throws
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
    const stream = new Stream(this.#host, {
      id: this.#nextId,
      kind,
      state: 'opening',
      receiveLimit: receiveWindow,
      windowBytes: receiveWindow,
      sendLimit: this.#peer?.limits.earlyBytes ?? 0,
    });
    stream.handler = handler;
    if (this.#mayOpen()) {
      this.#nextId += 2;
      this.#streams.set(stream.id, stream);
      this.counters.streamsOpened++;
      this.#host.pushControl(emitOpen(stream.id, {kind, credit: receiveWindow, body}));
    } else {
      this.#refusals.push(stream);
      this.#wake();
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
      if (this.#scheduler.isFlooded) throw new ProtocolError('CONTROL_BACKLOG');
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#fail(error);
    }
    this.#settle();
  }

  /**
   * Returns the next message, or undefined when there is none. Its memory belongs to the caller,
   * who may give it to `recycle`. The first call for a closed tunnel returns its CLOSE.
   */
  transmit(now: number): Uint8Array | undefined {
    this.poll(now);
    const message = this.#next(now);
    if (message === undefined) {
      this.#isPending = this.#state === 'closed' ? false : !this.#isIdle();
    } else {
      this.counters.messagesOut++;
      this.counters.bytesOut += message.length;
      this.#sizer.sent(message.length, now);
    }
    this.#settle();
    return message;
  }

  /** Gives the memory of a transmitted message back, when nobody reads it any more. */
  recycle(message: Uint8Array): void {
    this.#pool.give(message);
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
    if (this.#isPending) return this.#now;
    if (this.#state === 'closed') return undefined;
    if (this.#liveness !== undefined) return this.#liveness.pollAt();
    return this.#startedAt === undefined ? this.#now : this.#startedAt + this.#handshakeTimeoutMs;
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
      if (!this.#pings.take(this.#now)) throw new ProtocolError('PING_RATE');
      this.#host.pushControl(emitPing(FRAME.pong, message.subarray(start, end)));
    } else if (type === FRAME.pong) {
      this.#liveness?.pong(message.subarray(start, end), this.#now);
    } else if (type === FRAME.open) {
      this.#offer(message);
    } else if (id === 0) {
      throw new ProtocolError('FRAME_MALFORMED');
    } else {
      const stream = this.#streams.get(id);
      if (stream === undefined) this.#checkKnown(id);
      else this.#dispatchToStream(stream, message);
    }
  }

  #dispatchToStream(stream: Stream, message: Uint8Array): void {
    const {type, start, end} = this.#frame;
    if (type === FRAME.data) {
      stream.onData(copyIfSmall(message.subarray(start, end)));
    } else if (type === FRAME.datagram) {
      if (end - start > this.#limits.datagramBytes) throw new ProtocolError('DATAGRAM_TOO_BIG');
      stream.onDatagram(message.subarray(start, end));
    } else if (type === FRAME.credit) {
      stream.onCredit(readOffset(message, start));
    } else if (type === FRAME.opened) {
      stream.onOpened(readOffset(message, start), message.slice(start + 8, end));
    } else if (type === FRAME.fin) {
      stream.onFin(readOffset(message, start));
    } else if (type === FRAME.refused) {
      stream.onRefused(parseErrno(message, start, end));
    } else if (type === FRAME.reset) {
      stream.onReset(parseErrno(message, start, end));
    } else if (type === FRAME.stop) {
      stream.onStop(parseErrno(message, start, end));
    }
  }

  #greet(type: number, payload: Uint8Array): void {
    if (this.#options.role === 'layer') {
      if (type !== FRAME.welcome) throw new ProtocolError('HANDSHAKE_EXPECTED');
      this.#becomeReady(parseWelcome(payload));
      return;
    }
    if (type !== FRAME.hello) throw new ProtocolError('HANDSHAKE_EXPECTED');
    const {welcome, hello} = answerHello(payload, this.#options.token, this.#terms());
    this.#host.pushControl(emitWelcome(welcome));
    this.#becomeReady({...hello, version: welcome.version});
  }

  #becomeReady(peer: PeerInfo): void {
    this.#state = 'ready';
    this.#peer = {
      version: peer.version,
      capabilities: peer.capabilities,
      limits: peer.limits,
    };
    this.#ownOpens = new TokenBucket(peer.limits.streams, peer.limits.opensPerSecond);
    this.#liveness = new Liveness(this.#options.random, this.#now);
    this.#ping(this.#now);
    this.#handler.onReady?.(this.#peer);
    for (const stream of this.#streams.values()) stream.onCredit(peer.limits.earlyBytes);
  }

  #offer(message: Uint8Array): void {
    const {stream: id, start, end} = this.#frame;
    // Ids go up by at least two, so that one that is not in use is known to be over.
    if (id <= this.#peerId || id % 2 === this.#nextId % 2 || id > LAST_STREAM_ID) {
      throw new ProtocolError('STREAM_ID');
    }
    this.#peerId = id;
    if (!this.#peerOpens.take(this.#now)) throw new ProtocolError('OPEN_RATE');
    if (this.#openedByPeer >= this.#limits.streams) throw new ProtocolError('TOO_MANY_STREAMS');
    const stream = new Stream(this.#host, {
      id,
      kind: parseKind(message, start),
      state: 'offered',
      receiveLimit: this.#limits.earlyBytes,
      windowBytes: this.#limits.earlyBytes,
      sendLimit: readOffset(message, start + 1),
    });
    this.#streams.set(id, stream);
    this.#openedByPeer++;
    this.counters.streamsAccepted++;
    if (this.#handler.onOpen === undefined) stream.refuse('EOPNOTSUPP');
    else this.#handler.onOpen(stream, message.slice(start + 9, end));
  }

  /** Frames of a stream that ended here may still be under way; others are a breach. */
  #checkKnown(id: number): void {
    const isOurs = id % 2 === this.#nextId % 2;
    if (isOurs ? id >= this.#nextId : id > this.#peerId) throw new ProtocolError('STREAM_UNKNOWN');
    this.counters.framesIgnored++;
  }

  // ---- sending ----

  #next(now: number): Uint8Array | undefined {
    const urgent = this.#urgent;
    this.#urgent = undefined;
    if (urgent !== undefined) return urgent;
    return this.#state === 'ready' ? this.#scheduler.next(now) : undefined;
  }

  #ping(now: number): void {
    if (this.#liveness === undefined) return;
    this.#host.pushControl(emitPing(FRAME.ping, this.#liveness.nextNonce(now)));
  }

  /** Whether one more stream keeps to the peer's limits. Before they are known, ours stand in. */
  #mayOpen(): boolean {
    const {streams} = this.#peer?.limits ?? this.#limits;
    if (this.#nextId > LAST_STREAM_ID) return false;
    if (this.#streams.size - this.#openedByPeer >= streams) return false;
    return this.#ownOpens?.take(this.#now) ?? true;
  }

  // ---- inside ----

  #terms(): Terms {
    return {
      capabilities: this.#options.capabilities ?? 0,
      limits: this.#limits,
      ticket: new Uint8Array(0),
    };
  }

  #tick(now: number): void {
    this.#startedAt ??= now;
    this.#now = now;
    this.#isNowOld = false;
  }

  #isIdle(): boolean {
    return this.#state === 'greeting' || this.#scheduler.isEmpty;
  }

  #wake(): void {
    if (this.#isPending || this.#state !== 'ready') return;
    this.#isPending = true;
    this.#isNowOld = true;
    this.onPending?.();
  }

  /** Calls what was put off until no message was under construction. */
  #settle(): void {
    for (let stream = this.#refusals.shift(); stream; stream = this.#refusals.shift()) {
      stream.onRefused(this.#nextId > LAST_STREAM_ID ? 'EMFILE' : 'EAGAIN');
    }
    // What settling brings up again waits for the next round: a loop here could be endless.
    for (let left = this.#settling.length; left > 0; left--) this.#settling.shift()?.settle();
    if (this.#settling.length > 0) this.#wake();
  }

  #fail(error: ProtocolError): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#scheduler.clear();
    // The peer's own CLOSE needs no answer, a lost connection takes none.
    const isMute = error.origin === 'peer' || error.code === 'CONNECTION_LOST';
    this.#urgent = isMute ? undefined : emitClose(PROTOCOL_CODES[error.code].number);
    this.#isPending = this.#urgent !== undefined;
    for (const stream of [...this.#streams.values()]) stream.onReset(TUNNEL_GONE_ERRNO);
    for (let stream = this.#refusals.shift(); stream; stream = this.#refusals.shift()) {
      stream.onReset(TUNNEL_GONE_ERRNO);
    }
    this.#handler.onClose?.(error.code === 'NO_ERROR' ? undefined : error);
    this.onPending?.();
  }

  #makeHost(): StreamHost {
    const mux = this;
    return {
      pool: this.#pool,
      budget: this.#budget,
      counters: this.counters,
      get now() {
        return mux.#now;
      },
      get stamp() {
        return mux.#isNowOld || !mux.#isPending ? Number.POSITIVE_INFINITY : mux.#now;
      },
      get minRttMs() {
        return mux.#liveness?.minRttMs ?? 0;
      },
      get frameBytes() {
        return mux.#sizer.frameBytes;
      },
      get datagramBytes() {
        return (mux.#peer?.limits ?? mux.#limits).datagramBytes;
      },
      pushControl(frame) {
        mux.#scheduler.pushControl(frame);
        mux.#wake();
      },
      pushCredit(stream) {
        mux.#scheduler.pushCredit(stream);
        mux.#wake();
      },
      pushData(stream) {
        mux.#scheduler.push(stream, stream.isBulk);
        mux.#wake();
      },
      pushSettle(stream) {
        mux.#settling.push(stream);
        mux.#wake();
      },
      forget(stream) {
        if (!mux.#streams.delete(stream.id)) return;
        if (stream.id % 2 !== mux.#nextId % 2) mux.#openedByPeer--;
      },
    };
  }
}

/** Copies what is small, so that it does not keep the whole message alive while it waits. */
function copyIfSmall(bytes: Uint8Array): Uint8Array {
  return bytes.length < COPY_OUT_BYTES ? new Uint8Array(bytes) : bytes;
}
