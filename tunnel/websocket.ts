/**
 * Binds a multiplexer to a WebSocket: the one place of the tunnel with a clock, timers and I/O.
 *
 * Theory of operation. What streams write during one turn of the event loop is sent at its end, in
 * as few messages as possible. Messages are handed to the connection until 256 KiB wait in it, and again when
 * one of them has left: what waits in the multiplexer can still be overtaken by something more
 * urgent, what waits in a socket cannot. Reading is never paused for the sake of writing: two sides
 * that do so wait for each other for ever, and what a peer may send is bounded by its credit.
 *
 * Privacy. No intermediary reads our connections: below is a unix socket, loopback, or TLS. Only such may be
 * passed to `connectTunnel`, which saves the masks (`websocket/connection.ts`).
 *
 * Reconnecting. A tunnel that may be resumed outlives its WebSocket: the driver stays and gets another one.
 * The layer's makes it (`reconnect`), at once and then with growing pauses, until the tunnel is up again or
 * gives up; it also makes one before load balancers cut the old one for its age. The agent's gets it from the
 * driver of a tunnel that was greeted with RESUME. What a former WebSocket still has to say is not heard.
 */

import {request} from 'node:http';
import type {Duplex} from 'node:stream';
import type {ProtocolCode} from './errors.ts';
import {noteReceived} from './garbage.ts';
import {
  HANDSHAKE_TIMEOUT_MS,
  MESSAGE_BYTES,
  RECONNECT_TIMEOUT_MS,
  RESUME_ANSWER_MS,
  RESUME_WINDOW_MS,
  RETRY_MAX_MS,
  RETRY_MIN_MS,
  ROLL_AFTER_MS,
  ROLL_RETRY_MS,
} from './limits.ts';
import {MessageInbox} from './message-inbox.ts';
import {Mux} from './mux.ts';
import type {MuxHandler, MuxOptions, Resumable} from './mux-types.ts';
import {CLOSE_TIMEOUT_MS, WebSocketConnection} from './websocket/connection.ts';
import {CLOSE_CODE} from './websocket/frames.ts';
import {upgraded, upgradeHeaders} from './websocket/handshake.ts';

/** What may wait in Node; the kernel's socket buffer comes on top. */
const HIGH_WATER_BYTES = 262_144;
const LIMITS = {maxMessageBytes: MESSAGE_BYTES, mayLend: true} as const;
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
  driver.connect(connection, options.handshakeTimeoutMs ?? HANDSHAKE_TIMEOUT_MS);
  return mux;
}

/**
 * Drives `mux` with an agent's end of a connection until either is over, and then ends the other one. `onReceived` is
 * called after each of its messages.
 */
export function bindWebSocket(
  socket: Duplex,
  head: Uint8Array,
  mux: Mux,
  onReceived?: () => void,
): void {
  const driver = new Driver(mux, isKernelSocket(socket));
  driver.onReceived = onReceived;
  driver.start(new WebSocketConnection({socket, head, protocol: ''}, {...LIMITS, role: 'server'}));
}

/** Makes a WebSocket of a connection; undefined, and the connection destroyed: it did not work out in time. */
async function openWebSocket(
  connection: Duplex,
  timeoutMs: number,
): Promise<WebSocketConnection | undefined> {
  const timer = setTimeout(() => connection.destroy(), timeoutMs);
  timer.unref();
  // Whoever looks after it from here on hears of its end, too.
  connection.on('error', () => undefined);
  try {
    const {key, headers} = upgradeHeaders([]);
    const asked = request({createConnection: () => connection, host: 'agent', headers});
    return new WebSocketConnection(await upgraded(asked, key), {
      ...LIMITS,
      role: 'client',
      isPrivate: true,
    });
  } catch {
    connection.destroy();
    return undefined;
  } finally {
    clearTimeout(timer);
  }
}

/** Connects, and resolves with a WebSocket that is open; undefined: it did not work out in time. */
async function dial(reconnect: () => Promise<Duplex>): Promise<WebSocketConnection | undefined> {
  const {promise, resolve} = Promise.withResolvers<WebSocketConnection | undefined>();
  let isOver = false;
  const timer = setTimeout(() => {
    isOver = true;
    resolve(undefined);
  }, RECONNECT_TIMEOUT_MS);
  // A tunnel that is closed meanwhile keeps nobody waiting.
  timer.unref();
  const open = async (connection: Duplex): Promise<void> => {
    if (isOver) connection.destroy();
    const socket = await openWebSocket(connection, RESUME_ANSWER_MS);
    if (isOver) socket?.terminate();
    resolve(socket);
  };
  reconnect()
    .then(open)
    .catch(() => resolve(undefined));
  const socket = await promise;
  clearTimeout(timer);
  return socket?.isOpen === true ? socket : undefined;
}

/** In-memory pairs pass the very chunk to the other side, which may keep it. */
function isKernelSocket(connection: Duplex): boolean {
  return 'setNoDelay' in connection;
}

/** What a side says by the status of its WebSocket's close (RFC 6455, section 7.4.1), when it can't send CLOSE. */
const BREACHES = new Map<number, ProtocolCode>([
  [CLOSE_CODE.protocolError, 'WEBSOCKET_MALFORMED'],
  [CLOSE_CODE.tooBig, 'MESSAGE_TOO_BIG'],
]);

/** What a driver needs to make connections. */
interface Reconnection {
  readonly reconnect?: () => Promise<Duplex>;
  readonly random: () => number;
  readonly rollAfterMs?: number;
}

/** The drivers of sessions that connections may be handed over to. */
const drivers = new WeakMap<Resumable, Driver>();

class Driver {
  onReceived: (() => void) | undefined;
  readonly #mux: Mux;
  readonly #mayRecycle: boolean;
  readonly #reconnection: Reconnection | undefined;
  /** None while the tunnel is suspended. */
  #socket: WebSocketConnection | undefined;
  /** What is to become the first one. */
  #connecting: Duplex | undefined;
  #timer: NodeJS.Timeout | undefined;
  #timerAt = Number.POSITIVE_INFINITY;
  /** What will flush at the end of the turn. */
  #flushing: NodeJS.Immediate | undefined;
  #isHurrying = false;
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

  start(socket: WebSocketConnection): void {
    this.#mux.onPending = () => this.#flushSoon();
    this.#mux.onHurry = () => this.#flushInTurn();
    this.#attach(socket);
    this.#flush();
  }

  /** Starts with a connection that is to become a WebSocket. */
  connect(connection: Duplex, timeoutMs: number): void {
    this.#mux.onPending = () => this.#flushSoon();
    this.#mux.onHurry = () => this.#flushInTurn();
    this.#connecting = connection;
    const open = async (): Promise<void> => {
      const socket = await openWebSocket(connection, timeoutMs);
      this.#connecting = undefined;
      if (socket === undefined) {
        this.#lost();
      } else {
        this.#attach(socket);
        this.#flush();
      }
    };
    void open();
    this.#flush();
  }

  #attach(socket: WebSocketConnection): void {
    this.#socket = socket;
    this.#isBlocked = false;
    const isCurrent = (): boolean => this.#socket === socket;
    const inbox = new MessageInbox({
      receive: (message) => this.#receive(() => this.#mux.receive(message, performance.now())),
      receiveBulk: (piece, bytes) =>
        this.#receive(() => this.#mux.receiveBulk(piece, bytes, performance.now())),
      refuse: (code) => this.#receive(() => this.#mux.close(code)),
    });
    socket.handler = {
      onMessage: (isBinary, bytes) => inbox.begin(isBinary, bytes),
      onPayload: (piece) => {
        if (isCurrent()) inbox.take(piece);
        noteReceived(piece.length);
      },
      onMessageEnd: () => {
        if (isCurrent()) inbox.end();
      },
      onBreach: (status) => {
        if (isCurrent()) this.#end(BREACHES.get(status) ?? 'WEBSOCKET_MALFORMED', 'here');
      },
      onClose: (status) => {
        if (!isCurrent()) return;
        const breach = BREACHES.get(status);
        if (breach === undefined) this.#lost();
        else this.#end(breach, 'peer');
      },
    };
    this.#rollLater(this.#reconnection?.rollAfterMs ?? ROLL_AFTER_MS);
  }

  /** Goes on with another WebSocket, which is open. */
  #replace(socket: WebSocketConnection): void {
    const former = this.#socket;
    this.#attach(socket);
    former?.terminate();
    this.#flushSoon();
  }

  #receive(take: () => void): void {
    try {
      take();
    } catch (error) {
      // A bug in a handler. Half a message is handled: this tunnel cannot go on.
      this.#mux.close('INTERNAL');
      throw error;
    } finally {
      if (this.#mux.successor !== undefined) this.#handOver(this.#mux.successor);
      else this.#flushSoon();
      this.onReceived?.();
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
    if (this.#flushing !== undefined || this.#isBlocked) return;
    this.#flushing = setImmediate(() => {
      this.#flushing = undefined;
      this.#flush();
    });
  }

  /** Sends when the call that brings us here is over: what is lent for the turn is copied by then. */
  #flushInTurn(): void {
    if (this.#isHurrying || this.#isBlocked) return;
    this.#isHurrying = true;
    process.nextTick(() => {
      this.#isHurrying = false;
      if (this.#isBlocked) return;
      // Whatever has something to say later in this turn asks for it again.
      clearImmediate(this.#flushing);
      this.#flushing = undefined;
      this.#flush();
    });
  }

  #flush(): void {
    const socket = this.#socket;
    this.#isBlocked = false;
    if (socket?.isOpen === true) {
      for (;;) {
        if (socket.bufferedBytes >= HIGH_WATER_BYTES) {
          this.#isBlocked = true;
          break;
        }
        const message = this.#mux.transmit(performance.now());
        if (message === undefined) break;
        socket.send(message, () => this.#sent(message, socket));
      }
    } else {
      this.#mux.poll(performance.now());
    }
    this.#look();
  }

  #sent(message: Uint8Array, socket: WebSocketConnection): void {
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
    this.#connecting?.destroy();
    const socket = this.#socket;
    if (socket === undefined) return;
    if (!this.#isClosing) setTimeout(() => socket.terminate(), CLOSE_TIMEOUT_MS).unref();
    this.#isClosing = true;
    if (!this.#isBlocked) socket.close();
  }

  /** The WebSocket itself was abused, which no other connection mends. The peer is told by its close. */
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

  #resumeOver(socket: WebSocketConnection): void {
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
