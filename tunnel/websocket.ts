/**
 * Binds a multiplexer to a WebSocket: the one place of the tunnel with a clock, timers and I/O.
 *
 * Theory of operation. What streams write during one turn of the event loop is sent at its end, in
 * as few messages as possible. Messages are handed to `ws` until 256 KiB wait in it, and again when
 * one of them has left: what waits in the multiplexer can still be overtaken by something more
 * urgent, what waits in a socket cannot. Reading is never paused for the sake of writing: two sides
 * that do so wait for each other for ever, and what a peer may send is bounded by its credit.
 *
 * Masks. A client must mask its frames with an unpredictable key (RFC 6455, section 10.3), since a
 * script in a browser could otherwise choose the bytes that an intermediary reads, and poison its
 * cache. No intermediary reads ours: below is a unix socket, loopback, or a TLS connection, and no
 * script chooses who is talked to. With a key of zeros `ws` sends the caller's memory as it is,
 * which is worth a factor of three to four. Only such connections may be passed to `connectTunnel`.
 *
 * Reconnecting. A tunnel that may be resumed outlives its WebSocket: the driver stays and gets another one.
 * The layer's makes it (`reconnect`), at once and then with growing pauses, until the tunnel is up again or
 * gives up; it also makes one before load balancers cut the old one for its age. The agent's gets it from the
 * driver of a tunnel that was greeted with RESUME. What a former WebSocket still has to say is not heard.
 */

import {type createWebSocketStream, WebSocket} from 'ws';
import type {ProtocolCode} from './errors.ts';
import {
  MESSAGE_BYTES,
  RECONNECT_TIMEOUT_MS,
  RESUME_ANSWER_MS,
  RESUME_WINDOW_MS,
  RETRY_MAX_MS,
  RETRY_MIN_MS,
  ROLL_AFTER_MS,
  ROLL_RETRY_MS,
} from './limits.ts';
import {Mux} from './mux.ts';
import type {MuxHandler, MuxOptions, Resumable} from './mux-types.ts';

/** A stream of bytes in both directions, as `node:stream` defines it. */
export type Duplex = ReturnType<typeof createWebSocketStream>;

/** What may wait in `ws` and in Node; the kernel's socket buffer comes on top. */
const HIGH_WATER_BYTES = 262_144;
/** How long a peer may take to answer our closing handshake. */
const CLOSE_TIMEOUT_MS = 2000;

/** Options of both ends of the WebSocket. */
export const WEBSOCKET_OPTIONS = {
  // Bulk data is mostly compressed or encrypted already, and compression costs more than it saves.
  perMessageDeflate: false,
  maxPayload: MESSAGE_BYTES,
  skipUTF8Validation: true,
} as const;

/** How the layer's end is made. */
export interface ConnectOptions extends Omit<MuxOptions, 'role' | 'resume'> {
  /** Makes another connection to the same agent: then the tunnel may be resumed. */
  readonly reconnect?: () => Promise<Duplex>;
  /** How long it is tried to resume, in ms. */
  readonly resumeWindowMs?: number;
  /** The age, in ms, at which a connection is replaced by a new one. */
  readonly rollAfterMs?: number;
}

/**
 * Makes the layer's end of a tunnel over a connection to an agent, which must be one that nobody
 * can read (see above). The tunnel is usable at once: `onReady` tells when it is up, `onClose` that
 * it is over, whatever the reason; then the connection is destroyed.
 */
export function connectTunnel(
  connection: Duplex,
  options: ConnectOptions,
  handler: MuxHandler,
): Mux {
  const {reconnect, resumeWindowMs = RESUME_WINDOW_MS, rollAfterMs, ...rest} = options;
  const resume = reconnect && {resume: {windowMs: resumeWindowMs}};
  const mux = new Mux({...rest, ...resume, role: 'layer'}, handler);
  const driver = new Driver(mux, isKernelSocket(connection), {
    random: options.random,
    ...(reconnect !== undefined && {reconnect}),
    ...(rollAfterMs !== undefined && {rollAfterMs}),
  });
  driver.start(openWebSocket(connection, options.handshakeTimeoutMs));
  return mux;
}

/**
 * Drives `mux` with `socket` until either is over, and then ends the other one. `mayRecycle` says
 * that memory is free again when a write was reported as done: true for sockets of the kernel.
 */
export function bindWebSocket(socket: WebSocket, mux: Mux, mayRecycle = true): void {
  new Driver(mux, mayRecycle).start(socket);
}

function openWebSocket(connection: Duplex, handshakeTimeout: number | undefined): WebSocket {
  return new WebSocket('ws://agent/', {
    ...WEBSOCKET_OPTIONS,
    createConnection: () => connection as never,
    generateMask: (mask) => mask.fill(0),
    handshakeTimeout,
  });
}

/** Connects, and resolves with a WebSocket that is open; undefined: it did not work out in time. */
async function dial(reconnect: () => Promise<Duplex>): Promise<WebSocket | undefined> {
  const {promise, resolve} = Promise.withResolvers<WebSocket | undefined>();
  let isOver = false;
  const timer = setTimeout(() => {
    isOver = true;
    resolve(undefined);
  }, RECONNECT_TIMEOUT_MS);
  // A tunnel that is closed meanwhile keeps nobody waiting.
  timer.unref();
  const upgrade = (connection: Duplex): void => {
    // Whoever looks after it from here on hears of its end, too.
    connection.on('error', () => undefined);
    if (isOver || connection.destroyed) {
      connection.destroy();
      resolve(undefined);
      return;
    }
    const socket = openWebSocket(connection, RESUME_ANSWER_MS);
    socket.on('open', () => resolve(socket));
    socket.on('error', () => socket.terminate());
    socket.on('close', () => resolve(undefined));
  };
  reconnect().then(upgrade, () => resolve(undefined));
  const socket = await promise;
  clearTimeout(timer);
  return socket?.readyState === WebSocket.OPEN ? socket : undefined;
}

/** In-memory pairs pass the very chunk to the other side, which may keep it. */
function isKernelSocket(connection: Duplex): boolean {
  return 'setNoDelay' in connection;
}

/** What a side says by the status of its WebSocket's close (RFC 6455, section 7.4.1), when it can't send CLOSE. */
const BREACHES = new Map<number, ProtocolCode>([
  [1002, 'WEBSOCKET_MALFORMED'],
  [1009, 'MESSAGE_TOO_BIG'],
]);

/** Returns what an error of `ws` means when the peer is at fault. */
function breachOf(error: Error): ProtocolCode | undefined {
  const code = 'code' in error ? String(error.code) : '';
  if (code === 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH') return 'MESSAGE_TOO_BIG';
  return code.startsWith('WS_ERR_') ? 'WEBSOCKET_MALFORMED' : undefined;
}

/** A Buffer is not quite a Uint8Array: its `slice` is no copy. */
function plain(data: Uint8Array): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.length);
}

/** What a driver needs to make connections. */
interface Reconnection {
  readonly reconnect?: () => Promise<Duplex>;
  readonly random: () => number;
  readonly rollAfterMs?: number;
}

/** The drivers of sessions that connections may be handed over to. */
const drivers = new WeakMap<Resumable, Driver>();

class Driver {
  readonly #mux: Mux;
  readonly #mayRecycle: boolean;
  readonly #reconnection: Reconnection | undefined;
  /** None while the tunnel is suspended. */
  #socket: WebSocket | undefined;
  #timer: NodeJS.Timeout | undefined;
  #timerAt = Number.POSITIVE_INFINITY;
  #isFlushing = false;
  #isBlocked = false;
  #isClosing = false;
  #retryTimer: NodeJS.Timeout | undefined;
  #rollTimer: NodeJS.Timeout | undefined;
  /** Attempts to connect since the tunnel was up. */
  #attempts = 0;
  #isRetrying = false;

  constructor(mux: Mux, mayRecycle: boolean, reconnection?: Reconnection) {
    this.#mux = mux;
    this.#mayRecycle = mayRecycle;
    this.#reconnection = reconnection;
    drivers.set(mux, this);
  }

  start(socket: WebSocket): void {
    this.#mux.onPending = () => this.#flushSoon();
    this.#attach(socket);
    this.#flush();
  }

  #attach(socket: WebSocket): void {
    this.#socket = socket;
    this.#isBlocked = false;
    socket.on('open', () => this.#flush());
    socket.on('message', (data, isBinary) => {
      if (this.#socket === socket) this.#receive(data, isBinary);
    });
    // An error is followed by 'close', which is where the connection ends.
    socket.on('error', (error) => {
      const breach = breachOf(error);
      if (breach === undefined || this.#socket !== socket) socket.terminate();
      else this.#end(breach, 'here');
    });
    socket.on('close', (status) => {
      if (this.#socket !== socket) return;
      const breach = BREACHES.get(status);
      if (breach === undefined) this.#lost();
      else this.#end(breach, 'peer');
    });
    this.#rollLater(this.#reconnection?.rollAfterMs ?? ROLL_AFTER_MS);
  }

  /** Goes on with another WebSocket, which is open. */
  #replace(socket: WebSocket): void {
    const former = this.#socket;
    this.#attach(socket);
    former?.terminate();
    this.#flushSoon();
  }

  #receive(data: unknown, isBinary: boolean): void {
    try {
      if (!isBinary || !(data instanceof Uint8Array)) this.#mux.close('MESSAGE_NOT_BINARY');
      else this.#mux.receive(plain(data), performance.now());
    } catch (error) {
      // A bug in a handler. Half a message is handled: this tunnel cannot go on.
      this.#mux.close('INTERNAL');
      throw error;
    } finally {
      if (this.#mux.successor !== undefined) this.#handOver(this.#mux.successor);
      else this.#flushSoon();
    }
  }

  #handOver(session: Resumable): void {
    const socket = this.#socket;
    this.#socket = undefined;
    clearTimeout(this.#timer);
    const driver = drivers.get(session);
    if (socket !== undefined && driver !== undefined) driver.#replace(socket);
  }

  /** Sends at the end of this turn of the event loop, after all that I/O still has to say. */
  #flushSoon(): void {
    if (this.#isFlushing || this.#isBlocked) return;
    this.#isFlushing = true;
    setImmediate(() => {
      this.#isFlushing = false;
      this.#flush();
    });
  }

  #flush(): void {
    const socket = this.#socket;
    this.#isBlocked = false;
    if (socket?.readyState === WebSocket.OPEN) {
      for (;;) {
        if (socket.bufferedAmount >= HIGH_WATER_BYTES) {
          this.#isBlocked = true;
          break;
        }
        const message = this.#mux.transmit(performance.now());
        if (message === undefined) break;
        socket.send(message, {binary: true}, () => this.#sent(message, socket));
      }
    } else {
      this.#mux.poll(performance.now());
    }
    this.#look();
  }

  #sent(message: Uint8Array, socket: WebSocket): void {
    if (this.#mayRecycle) this.#mux.recycle(message);
    if (this.#isBlocked && this.#socket === socket) this.#flush();
  }

  /** Does what follows from the state of the tunnel. */
  #look(): void {
    if (this.#mux.isClosed) {
      this.#close();
      return;
    }
    if (this.#mux.isReady) this.#attempts = 0;
    if (this.#mux.isSuspended) {
      // The peer is silent: what this connection may still bring is not waited for.
      this.#socket?.terminate();
      this.#socket = undefined;
      this.#isBlocked = false;
      this.#retry();
    }
    this.#arm();
  }

  /** Arms the timer for `pollAt`; one that fires too early only arms itself again. */
  #arm(): void {
    // While the socket takes nothing, what is pending is no reason to wake up.
    const pollAt = this.#isBlocked ? performance.now() + 1000 : this.#mux.pollAt();
    if (pollAt === undefined || pollAt >= this.#timerAt) return;
    clearTimeout(this.#timer);
    this.#timerAt = pollAt;
    this.#timer = setTimeout(() => this.#wake(), Math.max(1, pollAt - performance.now()));
    // The connection keeps the process alive, the timer needs not.
    this.#timer.unref();
  }

  #wake(): void {
    this.#timerAt = Number.POSITIVE_INFINITY;
    if (this.#isBlocked) {
      this.#mux.poll(performance.now());
      this.#look();
    } else {
      this.#flush();
    }
  }

  /** The tunnel is over: its last message has been handed over, or will be when the socket takes it. */
  #close(): void {
    this.#clearTimers();
    const socket = this.#socket;
    if (socket === undefined || socket.readyState === WebSocket.CLOSED) return;
    if (socket.readyState === WebSocket.CONNECTING) {
      socket.terminate();
      return;
    }
    if (!this.#isClosing) setTimeout(() => socket.terminate(), CLOSE_TIMEOUT_MS).unref();
    this.#isClosing = true;
    if (!this.#isBlocked) socket.close(1000);
  }

  /** The WebSocket itself was abused, which no other connection mends. `ws` has told the peer. */
  #end(breach: ProtocolCode, origin: 'here' | 'peer'): void {
    this.#mux.close(breach, origin);
    this.#look();
  }

  #lost(): void {
    this.#socket = undefined;
    this.#mux.disconnected(performance.now());
    this.#look();
  }

  // ---- connecting again ----

  /** Connects again after a pause, unless that is under way. */
  #retry(): void {
    const {reconnect, random} = this.#reconnection ?? {};
    if (reconnect === undefined || random === undefined || this.#isRetrying) return;
    this.#isRetrying = true;
    const pauseMs = Math.min(RETRY_MIN_MS * 2 ** (this.#attempts - 1), RETRY_MAX_MS);
    const jitter = 0.5 + random() / 2;
    const retry = async (): Promise<void> => {
      const socket = await dial(reconnect);
      this.#isRetrying = false;
      if (this.#mux.isSuspended && socket !== undefined) this.#resumeOver(socket);
      else socket?.terminate();
      if (this.#mux.isSuspended) this.#retry();
    };
    this.#retryTimer = setTimeout(() => void retry(), this.#attempts === 0 ? 0 : pauseMs * jitter);
    this.#attempts++;
  }

  #resumeOver(socket: WebSocket): void {
    this.#mux.reconnected(performance.now());
    this.#replace(socket);
  }

  #rollLater(delayMs: number): void {
    const {reconnect} = this.#reconnection ?? {};
    if (reconnect === undefined) return;
    clearTimeout(this.#rollTimer);
    this.#rollTimer = setTimeout(() => void this.#roll(reconnect), delayMs);
    this.#rollTimer.unref();
  }

  /** Replaces the connection while nothing is wrong with it. */
  async #roll(reconnect: () => Promise<Duplex>): Promise<void> {
    const socket = this.#mux.isReady && this.#mux.isResumable ? await dial(reconnect) : undefined;
    if (socket !== undefined && this.#mux.isReady) {
      this.#resumeOver(socket);
      return;
    }
    socket?.terminate();
    if (this.#mux.isClosed) return;
    this.#rollLater(Math.min(ROLL_RETRY_MS, this.#reconnection?.rollAfterMs ?? ROLL_RETRY_MS));
  }

  #clearTimers(): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#rollTimer);
  }
}
