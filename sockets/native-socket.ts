/**
 * A stream socket on the addon (layer/native/socket.c): reads into one buffer for all, writes what a turn of the loop
 * has gathered in one call.
 */

import type {Socket} from 'node:net';
import {lendEndpoint, unpackEndpoint} from './address.ts';
import {
  type Addon,
  ASK,
  errnoError,
  flushLater,
  forgetHandle,
  type Handle,
  type Listener,
  openHandle,
  READABLE,
  socketAddon,
  WRITABLE,
} from './native.ts';
import type {Flushable, Outbox} from './outbox.ts';
import type {SocketEndpoint, SocketHandler, StreamSocket} from './types.ts';
import {WriteQueue} from './write-queue.ts';

const parts: Uint8Array[] = [];

function bytesOf(count: number): number {
  let bytes = 0;
  for (let at = 0; at < count; at++) bytes += parts[at]?.length ?? 0;
  return bytes;
}

export class NativeSocket implements StreamSocket, Flushable, Listener {
  handler: SocketHandler | undefined;
  /** Called once when it is closed, whoever its handler is. */
  onClosed: (() => void) | undefined;
  readonly #addon: Addon;
  readonly #handle: Handle;
  readonly #queue = new WriteQueue();
  #readBytes = 0;
  /** What comes is being handled. */
  #isAnswering = false;
  #isConnecting: boolean;
  #hasEnded = false;
  #isBlocked = false;
  #isFlushQueued = false;
  #isEnding = false;
  #isShut = false;
  #isClosed = false;
  /** Bytes that the outbox has, and the kernel has not been given yet: they are not to be written twice. */
  #offered = 0;
  #received = 0;
  #given = 0;

  /** Takes over what the addon has opened. Throws an error for a negative errno. */
  constructor(addon: Addon, opened: number, isConnecting = false) {
    this.#addon = addon;
    this.#isConnecting = isConnecting;
    this.#handle = openHandle(opened, this);
    if (isConnecting) this.#watch();
  }

  /** Takes the descriptor of a socket over. Throws what there is no memory for. */
  static of(addon: Addon, fd: number): NativeSocket {
    return new NativeSocket(addon, addon.open(fd));
  }

  get bufferedBytes(): number {
    return this.#queue.bytes;
  }

  /** What the addon knows it by. */
  get handle(): Handle {
    return this.#handle;
  }

  /** Bytes that its handler was told of. */
  get received(): number {
    return this.#received;
  }

  /** Bytes that it was given to write. */
  get given(): number {
    return this.#given;
  }

  /** What of it the kernel may not have. */
  get unwritten(): readonly Uint8Array[] {
    return this.#queue.all();
  }

  get isWritable(): boolean {
    return !this.#isEnding && !this.#isClosed;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  get readBytes(): number {
    return this.#readBytes;
  }

  set readBytes(bytes: number) {
    if (this.#readBytes === bytes) return;
    this.#readBytes = bytes;
    // The answer to what came tells the addon.
    if (!this.#isAnswering) this.#watch();
  }

  write(bytes: Uint8Array, taken?: () => void): void {
    this.#push(bytes, false, taken);
  }

  writeLent(bytes: Uint8Array): void {
    this.#push(bytes, true);
  }

  flush(): void {
    this.#isFlushQueued = false;
    if (this.#isClosed) return;
    if (this.#offered > 0) {
      // It is written as soon as it is known what became of that; until then it may have to be ours.
      this.#queue.keep();
      return;
    }
    if (this.#isConnecting) {
      this.#queue.keep();
      this.handler?.onFlushed?.();
      return;
    }
    while (this.#queue.bytes > 0 && !this.#isBlocked) {
      const count = this.#queue.fill(parts);
      if (!this.#take(this.#addon.write(this.#handle, parts, count), bytesOf(count))) break;
    }
    parts.length = 0;
    this.#settle();
  }

  offer(outbox: Outbox): boolean {
    if (this.#isClosed || this.#isConnecting || this.#isBlocked) return false;
    if (this.#queue.bytes === 0 || this.#offered > 0) return false;
    const count = this.#queue.fill(parts);
    if (!outbox.put(parts, count, this.#handle)) return false;
    this.#isFlushQueued = false;
    this.#offered = bytesOf(count);
    return true;
  }

  onOffered(written: number): void {
    const offered = this.#offered;
    this.#offered = 0;
    if (this.#isClosed) return;
    const isTaken = this.#take(written, offered);
    // What there was no room for in one call.
    if (isTaken && this.#queue.bytes > 0) this.flush();
    else this.#settle();
  }

  end(): void {
    if (!this.isWritable) return;
    this.#isEnding = true;
    if (this.#queue.bytes === 0 && !this.#isConnecting) this.#shutdown();
  }

  destroy(isReset = false): void {
    this.#close(undefined, isReset && !this.#isConnecting);
  }

  /** Its own address. Throws what getsockname(2) says. */
  localEndpoint(): SocketEndpoint {
    const bytes = new Uint8Array(18);
    const length = this.#addon.localEndpoint(this.#handle, bytes);
    if (length < 0) throw errnoError('getsockname', length);
    return unpackEndpoint(bytes.subarray(0, length));
  }

  #push(bytes: Uint8Array, isLent: boolean, taken?: () => void): void {
    if (!this.isWritable || bytes.length === 0) return;
    this.#given += bytes.length;
    this.#queue.push(bytes, isLent, taken);
    if (this.#isFlushQueued) return;
    // While it is blocked, what is lent must be copied in this turn all the same.
    if (this.#isBlocked && !isLent) return;
    this.#isFlushQueued = true;
    flushLater(this);
  }

  /** What the kernel has taken of so many bytes, or an errno; returns whether it may take more. */
  #take(written: number, offered: number): boolean {
    if (written < 0) {
      this.#queue.keep();
      // A reset that is still to be read says more than EPIPE; and nobody is called back in his own call.
      queueMicrotask(() => this.#close(errnoError('write', written), false));
      return false;
    }
    this.#queue.take(written);
    if (this.#isClosed) return false;
    if (written < offered) {
      this.#isBlocked = true;
      this.#watch();
    }
    return !this.#isBlocked;
  }

  /** After something was given to the kernel. */
  #settle(): void {
    if (this.#isClosed) return;
    this.#queue.keep();
    if (this.#isEnding && this.#queue.bytes === 0) this.#shutdown();
    this.handler?.onFlushed?.();
  }

  // ---- what the addon says ----

  onData(bytes: Uint8Array): number {
    this.#isAnswering = true;
    this.#received += bytes.length;
    try {
      this.handler?.onData(bytes);
    } finally {
      this.#isAnswering = false;
    }
    return this.#readBytes;
  }

  onReadable(): number {
    this.#readBytes = this.handler?.onReadable?.() ?? this.#readBytes;
    return this.#readBytes;
  }

  onFailed(errno: number): void {
    this.#close(errnoError('read', errno), false);
  }

  onEnd(): void {
    this.#hasEnded = true;
    this.handler?.onEnd();
    if (this.#isEnding && this.#isShut) this.#close(undefined, false);
  }

  onWritable(): void {
    if (this.#isConnecting) {
      this.#isConnecting = false;
      this.#watch();
      this.handler?.onConnect?.();
      this.flush();
      return;
    }
    this.#isBlocked = false;
    this.flush();
  }

  #watch(): void {
    if (this.#isClosed) return;
    const isReading = !this.#isConnecting && !this.#hasEnded;
    const isWriting = this.#isBlocked || this.#isConnecting;
    const isAsked = this.handler?.onReadable !== undefined;
    const events = (isReading ? READABLE : 0) | (isWriting ? WRITABLE : 0) | (isAsked ? ASK : 0);
    const failure = this.#addon.watch(this.#handle, events, this.#readBytes);
    if (failure < 0) queueMicrotask(() => this.#close(errnoError('epoll_ctl', failure), false));
  }

  #shutdown(): void {
    if (this.#isShut || this.#isClosed) return;
    this.#isShut = true;
    this.#addon.shutdownWrite(this.#handle);
    // Both directions are over. Not in the call of whoever ends it.
    if (this.#hasEnded) queueMicrotask(() => this.#close(undefined, false));
  }

  #close(error: NodeJS.ErrnoException | undefined, isReset: boolean): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#queue.clear();
    forgetHandle(this.#handle);
    this.#addon.close(this.#handle, isReset);
    const {handler} = this;
    this.handler = undefined;
    handler?.onClose(error);
    this.onClosed?.();
  }
}

/** Starts a connection; undefined where there is no addon. Throws what connect(2) fails with at once. */
export function connectNative(to: SocketEndpoint, keepAliveMs: number): NativeSocket | undefined {
  const addon = socketAddon();
  if (addon === undefined) return undefined;
  const fd = addon.connect(lendEndpoint(to.address, to.port), Math.ceil(keepAliveMs / 1000));
  if (fd < 0) throw errnoError('connect', fd);
  return new NativeSocket(addon, addon.open(fd), true);
}

/** What of Node's sockets is not in its types. */
interface WithHandle {
  readonly _handle?: {readonly fd?: number; reading?: boolean; readStop?: () => number} | null;
}

/**
 * Takes over the reading and writing of a socket of Node's that nobody reads. That one stays open and still tells of its
 * 'close', which is also the end of this one; and the other way round. Undefined where that can't be.
 */
export function adoptSocket(socket: Socket): NativeSocket | undefined {
  const addon = socketAddon();
  const {_handle: handle} = socket as Socket & WithHandle;
  const fd = handle?.fd ?? -1;
  if (addon === undefined || fd < 0 || handle?.readStop === undefined) return undefined;
  if (socket.connecting || socket.writableLength > 0) return undefined;
  try {
    const adopted = new NativeSocket(addon, addon.adopt(fd));
    handle.readStop();
    handle.reading = false;
    return adopted;
  } catch {
    return undefined; // Node goes on with it
  }
}
