/**
 * One stream: its two directions, and what it may do when.
 *
 *     opened here:   opening ──OPENED──► open ──► gone         opening ──REFUSED──► gone
 *     opened there:  offered ──accept──► open ──► gone         offered ──refuse───► gone
 *     over a limit:  barred ──► gone, with onRefused: nothing of it ever goes out
 *
 * Each direction ends by FIN; RESET, from either side, ends both. FIN and RESET go out as control
 * frames, but only when the bytes written before them have left. A stream that is reset here is
 * gone for its handler and for the peer's frames at once, while its last bytes still leave.
 *
 * Handlers are called while a message is received or, for what follows from sending (`onWritable`,
 * `onClose`), when the multiplexer has finished a message: never out of a call of their own.
 */

import {ReceiveCredit, type WindowBudget} from './credit.ts';
import {DatagramQueue, type DropCounters} from './datagrams.ts';
import {ProtocolError} from './errors.ts';
import {emitErrno, emitOffset, emitOpened, FRAME} from './frames.ts';
import {
  BODY_BYTES,
  HEADER_BYTES,
  HURRY_BYTES,
  OUTBOX_TIGHT_BYTES,
  OUTBOX_TIGHT_TOTAL_BYTES,
} from './limits.ts';
import {type FramePool, Outbox} from './outbox.ts';
import type {Sender} from './scheduler.ts';
import type {ErrnoName, MuxStream, StreamHandler, StreamKind} from './types.ts';

/** The multiplexer, as a stream sees it. */
export interface StreamHost {
  readonly pool: FramePool;
  readonly budget: WindowBudget;
  readonly counters: DropCounters;
  /** The last time that the multiplexer was told, in ms. */
  readonly now: number;
  /** The time for something that happens now; `Infinity` when `now` is old. */
  readonly stamp: number;
  readonly minRttMs: number;
  readonly frameBytes: number;
  /** The largest datagram the peer takes. */
  readonly datagramBytes: number;
  pushControl(frame: Uint8Array): void;
  pushCredit(stream: Stream): void;
  /** What waits should not wait for the end of the turn. */
  hurry(): void;
  pushData(stream: Stream): void;
  /** Calls `onRoom` of the stream when the pool is not clogged any more. */
  pushCrowded(stream: Stream): void;
  /** Calls `settle` of the stream soon. */
  pushSettle(stream: Stream): void;
  /** Frames for this stream are ignored from now on. */
  forget(stream: Stream): void;
}

/** The first state of a stream, and its credit. */
export interface StreamStart {
  readonly id: number;
  readonly kind: StreamKind;
  readonly state: 'opening' | 'offered' | 'barred';
  /** What the peer may send at once, and the window that grants are made of. */
  readonly receiveLimit: number;
  readonly windowBytes: number;
  /** What may be sent at once. */
  readonly sendLimit: number;
}

/** A stream of either side. Made by the multiplexer only. */
export class Stream implements MuxStream, Sender {
  readonly id: number;
  readonly kind: StreamKind;
  handler: StreamHandler | undefined;
  deficitBytes = 0;

  readonly #host: StreamHost;
  #state: 'opening' | 'offered' | 'barred' | 'open' | 'gone';

  readonly #outbox: Outbox;
  readonly #datagrams: DatagramQueue;
  #sending: 'open' | 'ending' | 'ended' = 'open';
  /** Set by `reset` while bytes still leave. */
  #resetErrno: ErrnoName | undefined;
  /** Offsets: written by us, handed to the connection, granted by the peer, allowed to be written. */
  #written = 0;
  #sent = 0;
  #sendLimit: number;
  #allowed = 0;

  readonly #credit: ReceiveCredit;
  #receiving: 'open' | 'stopped' | 'ended' = 'open';

  #isQueued = false;
  #isCreditQueued = false;
  #isSettleQueued = false;
  #hasRoom = false;
  #isCrowdQueued = false;

  constructor(host: StreamHost, start: StreamStart) {
    this.#host = host;
    this.id = start.id;
    this.kind = start.kind;
    this.#state = start.state;
    this.#sendLimit = start.sendLimit;
    this.#outbox = new Outbox(host.pool);
    this.#datagrams = new DatagramQueue(host.counters, host.pool);
    this.#credit = new ReceiveCredit(host.budget, {
      windowBytes: start.windowBytes,
      limit: start.receiveLimit,
      now: host.now,
    });
    this.#raiseAllowed();
  }

  /** Whether this stream carries datagrams (udp, echo) instead of bytes (tcp, unix, call). */
  get hasDatagrams(): boolean {
    return this.kind === 'udp' || this.kind === 'echo';
  }

  get isBulk(): boolean {
    return this.kind === 'tcp' || this.kind === 'unix';
  }

  accept(body: Uint8Array, receiveLimit: number = this.#host.budget.initialBytes): void {
    if (this.#state !== 'offered') return;
    if (body.length > BODY_BYTES) throw new RangeError('the body is too long');
    this.#state = 'open';
    const limit = this.#credit.resize(receiveLimit);
    this.#host.pushControl(emitOpened(this.id, limit, body));
    this.#finishSending();
  }

  refuse(errno: ErrnoName): void {
    if (this.#state !== 'offered') return;
    this.#host.pushControl(emitErrno(FRAME.refused, this.id, errno));
    this.#leave();
  }

  get writable(): number {
    const room = this.#room;
    return room > 0 && this.#host.pool.isClogged ? this.#crowdedRoom(room) : room;
  }

  write(chunk: Uint8Array): void {
    if (chunk.length > this.#room) throw new RangeError('written past the credit of the stream');
    this.#written += chunk.length;
    this.#outbox.append(chunk, this.#host.frameBytes);
    if (this.#outbox.bytes > 0) this.#queue();
  }

  hurry(): void {
    if (this.#isQueued) this.#host.hurry();
  }

  end(): void {
    if (this.#state === 'offered') throw new TypeError('the stream is not accepted yet');
    if (!this.#isLive || this.#sending !== 'open') return;
    this.#sending = 'ending';
    this.#finishSending();
  }

  reset(errno: ErrnoName): void {
    if (this.#state === 'offered') this.refuse(errno);
    if (this.#state === 'barred') this.#leave();
    if (this.#state === 'gone') return;
    const {pool} = this.#host;
    const isCrowded = pool.queuedBytes > OUTBOX_TIGHT_TOTAL_BYTES || pool.isClogged;
    if (isCrowded) this.#outbox.clear();
    this.#resetErrno = errno;
    this.#state = 'gone';
    this.handler = undefined;
    this.#credit.release();
    this.#host.forget(this);
    this.#finishSending();
  }

  stop(errno: ErrnoName): void {
    if (!this.#isLive || this.#receiving !== 'open') return;
    this.#receiving = 'stopped';
    this.#credit.release();
    this.#host.pushControl(emitErrno(FRAME.stop, this.id, errno));
  }

  consumed(offset: number): void {
    if (this.#state === 'gone') return;
    this.#credit.consume(offset);
    const isWanted = this.#state !== 'offered' && this.#receiving === 'open';
    if (!isWanted || this.#isCreditQueued || !this.#credit.isDue) return;
    this.#isCreditQueued = true;
    this.#host.pushCredit(this);
  }

  sendDatagram(payload: Uint8Array, head?: Uint8Array): boolean {
    if (!this.hasDatagrams) throw new TypeError('this kind of stream has no datagrams');
    if (!this.#isLive || this.#sending !== 'open') return true;
    if (payload.length + (head?.length ?? 0) > this.#host.datagramBytes) {
      this.#host.counters.datagramsDroppedFull++;
      return true;
    }
    if (!this.#datagrams.push(this.id, payload, head, this.#host.stamp)) return false;
    this.#queue();
    if (this.#host.pool.queuedBytes >= HURRY_BYTES) this.#host.hurry();
    return true;
  }

  // ---- what the scheduler asks ----

  nextFrameBytes(now: number): number | undefined {
    const bytes = this.hasDatagrams ? this.#datagrams.nextBytes(now) : this.#nextDataBytes();
    if (bytes === undefined) {
      this.#isQueued = false;
      this.#finishSending();
    }
    return bytes;
  }

  takeFrame(): Uint8Array | undefined {
    if (this.hasDatagrams) return this.#datagrams.shift();
    const frame = this.#outbox.shift(this.id);
    if (frame === undefined) return undefined;
    this.#sent += frame.length - HEADER_BYTES;
    if (this.#isLive) this.#noteRoom();
    return frame;
  }

  takeCredit(now: number): Uint8Array | undefined {
    this.#isCreditQueued = false;
    if (this.#state === 'gone' || this.#receiving !== 'open' || !this.#credit.isDue) {
      return undefined;
    }
    const limit = this.#credit.grant(now, this.#host.minRttMs);
    return emitOffset(FRAME.credit, this.id, limit);
  }

  /** Calls the handlers that were put off. */
  settle(): void {
    this.#isSettleQueued = false;
    if (this.#state === 'gone') return;
    if (this.#receiving === 'ended' && this.#sending === 'ended') {
      const handler = this.handler;
      this.#leave();
      handler?.onClose?.();
      return;
    }
    if (!this.#hasRoom) return;
    this.#hasRoom = false;
    if (this.writable > 0) this.handler?.onWritable?.();
  }

  /** Memory is not short any more: tells the handler soon. */
  onRoom(): void {
    this.#isCrowdQueued = false;
    this.#hasRoom = true;
    this.#queueSettle();
  }

  // ---- what the peer says ----

  onOpened(credit: number, body: Uint8Array): void {
    if (this.#state !== 'opening') throw new ProtocolError('STREAM_STATE');
    this.#state = 'open';
    this.#sendLimit = Math.max(this.#sendLimit, credit);
    this.#raiseAllowed();
    this.handler?.onOpened?.(body);
  }

  onRefused(errno: ErrnoName): void {
    if (this.#state !== 'opening' && this.#state !== 'barred') {
      throw new ProtocolError('STREAM_STATE');
    }
    const handler = this.handler;
    this.#leave();
    handler?.onRefused?.(errno);
  }

  /** Takes bytes whose memory is the connection's. */
  onData(chunk: Uint8Array): void {
    if (this.hasDatagrams) throw new ProtocolError('STREAM_KIND');
    this.#checkReceiving();
    this.#credit.receive(chunk.length);
    const {handler} = this;
    if (this.#receiving !== 'open' || handler === undefined) return;
    if (handler.onLentData !== undefined) handler.onLentData(chunk);
    else handler.onData?.(new Uint8Array(chunk));
  }

  onFin(offset: number): void {
    this.#checkReceiving();
    if (offset !== this.#credit.received) throw new ProtocolError('FINAL_OFFSET');
    const wasOpen = this.#receiving === 'open';
    this.#receiving = 'ended';
    this.#credit.release();
    this.#queueSettle();
    if (wasOpen) this.handler?.onEnd?.();
  }

  onReset(errno: ErrnoName): void {
    const handler = this.handler;
    this.#leave();
    handler?.onReset?.(errno);
  }

  onStop(errno: ErrnoName): void {
    if (this.#sending === 'ended') return;
    this.#outbox.clear();
    this.#datagrams.clear();
    this.#sending = 'ending';
    this.#finishSending();
    this.handler?.onStop?.(errno);
  }

  onCredit(offset: number): void {
    if (offset <= this.#sendLimit) return;
    this.#sendLimit = offset;
    if (this.#raiseAllowed() && this.writable > 0) this.handler?.onWritable?.();
  }

  onDatagram(payload: Uint8Array): void {
    if (!this.hasDatagrams) throw new ProtocolError('STREAM_KIND');
    this.#checkReceiving();
    if (this.#receiving === 'open') this.handler?.onDatagram?.(payload);
  }

  // ---- inside ----

  /** Whether something of ours may go out. */
  get #isLive(): boolean {
    return this.#state === 'open' || this.#state === 'opening';
  }

  /** What was promised to whoever writes. */
  get #room(): number {
    if (this.#sending !== 'open' || this.hasDatagrams || !this.#isLive) return 0;
    return this.#allowed - this.#written;
  }

  /**
   * What may be written of `room` while memory is short: nothing; a little by a call, which carries answers
   * and news. Its owner is told when there is room again.
   */
  #crowdedRoom(room: number): number {
    if (!this.#isCrowdQueued) {
      this.#isCrowdQueued = true;
      this.#host.pushCrowded(this);
    }
    if (this.isBulk) return 0;
    return Math.min(room, Math.max(0, OUTBOX_TIGHT_BYTES - this.#outbox.bytes));
  }

  /** An acceptor says nothing before OPENED, and nobody says anything after FIN. */
  #checkReceiving(): void {
    if (this.#state === 'opening' || this.#receiving === 'ended') {
      throw new ProtocolError('STREAM_STATE');
    }
  }

  #nextDataBytes(): number | undefined {
    const bytes = this.#outbox.headBytes;
    return bytes === 0 ? undefined : bytes + HEADER_BYTES;
  }

  #queue(): void {
    if (this.#isQueued) return;
    this.#isQueued = true;
    this.#host.pushData(this);
  }

  #queueSettle(): void {
    if (this.#isSettleQueued) return;
    this.#isSettleQueued = true;
    this.#host.pushSettle(this);
  }

  /** Sends FIN or RESET when all that was written before has left. */
  #finishSending(): void {
    // The peer may have said STOP before we accept: FIN comes after OPENED.
    if (this.#state === 'offered') return;
    if (this.#outbox.bytes > 0 || this.#datagrams.length > 0) return;
    if (this.#resetErrno !== undefined) {
      this.#host.pushControl(emitErrno(FRAME.reset, this.id, this.#resetErrno));
      this.#resetErrno = undefined;
    } else if (this.#sending === 'ending' && this.#state !== 'gone') {
      this.#sending = 'ended';
      this.#host.pushControl(emitOffset(FRAME.fin, this.id, this.#sent));
      this.#queueSettle();
    }
  }

  /** Raises the offset up to which may be written; never lowers it (see `writable`). */
  #raiseAllowed(): boolean {
    const allowed = Math.min(this.#sendLimit, this.#sent + this.#host.pool.outboxBytes);
    if (allowed <= this.#allowed) return false;
    this.#allowed = allowed;
    return true;
  }

  /** Tells the handler about room in the outbox, but not about every frame. */
  #noteRoom(): void {
    if (this.#sendLimit === this.#allowed) return;
    const before = this.#allowed;
    const room = Math.min(this.#sendLimit, this.#sent + this.#host.pool.outboxBytes);
    if (room < this.#sendLimit && room - before < OUTBOX_TIGHT_BYTES / 2) return;
    if (!this.#raiseAllowed()) return;
    this.#hasRoom = true;
    this.#queueSettle();
  }

  /** Leaves without a word: both sides know. */
  #leave(): void {
    this.#state = 'gone';
    this.handler = undefined;
    this.#outbox.clear();
    this.#datagrams.clear();
    this.#credit.release();
    this.#host.forget(this);
  }
}
