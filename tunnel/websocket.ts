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
 */

import {type createWebSocketStream, WebSocket} from 'ws';
import {MESSAGE_BYTES} from './limits.ts';
import {Mux} from './mux.ts';
import type {MuxHandler, MuxOptions} from './mux-types.ts';

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

/**
 * Makes the layer's end of a tunnel over a connection to an agent, which must be one that nobody
 * can read (see above). The tunnel is usable at once: `onReady` tells when it is up, `onClose` that
 * it is over, whatever the reason; then the connection is destroyed.
 */
export function connectTunnel(
  connection: Duplex,
  options: Omit<MuxOptions, 'role'>,
  handler: MuxHandler,
): Mux {
  const mux = new Mux({...options, role: 'layer'}, handler);
  const socket = new WebSocket('ws://agent/', {
    ...WEBSOCKET_OPTIONS,
    createConnection: () => connection as never,
    generateMask: (mask) => mask.fill(0),
    handshakeTimeout: options.handshakeTimeoutMs,
  });
  bindWebSocket(socket, mux, isKernelSocket(connection));
  return mux;
}

/**
 * Drives `mux` with `socket` until either is over, and then ends the other one. `mayRecycle` says
 * that memory is free again when a write was reported as done: true for sockets of the kernel.
 */
export function bindWebSocket(socket: WebSocket, mux: Mux, mayRecycle = true): void {
  new Driver(socket, mux, mayRecycle).start();
}

/** In-memory pairs pass the very chunk to the other side, which may keep it. */
function isKernelSocket(connection: Duplex): boolean {
  return 'setNoDelay' in connection;
}

/** A Buffer is not quite a Uint8Array: its `slice` is no copy. */
function plain(data: Uint8Array): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.length);
}

class Driver {
  readonly #socket: WebSocket;
  readonly #mux: Mux;
  readonly #mayRecycle: boolean;
  #timer: NodeJS.Timeout | undefined;
  #timerAt = Number.POSITIVE_INFINITY;
  #isFlushing = false;
  #isBlocked = false;

  constructor(socket: WebSocket, mux: Mux, mayRecycle: boolean) {
    this.#socket = socket;
    this.#mux = mux;
    this.#mayRecycle = mayRecycle;
  }

  start(): void {
    const socket = this.#socket;
    this.#mux.onPending = () => this.#flushSoon();
    socket.on('open', () => this.#flush());
    socket.on('message', (data, isBinary) => this.#receive(data, isBinary));
    // An error is followed by 'close', which is where the tunnel ends.
    socket.on('error', () => socket.terminate());
    socket.on('close', () => this.#lost());
    this.#flush();
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
      this.#flushSoon();
    }
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
    if (socket.readyState === WebSocket.OPEN) {
      for (;;) {
        if (socket.bufferedAmount >= HIGH_WATER_BYTES) {
          this.#isBlocked = true;
          break;
        }
        const message = this.#mux.transmit(performance.now());
        if (message === undefined) break;
        socket.send(message, {binary: true}, () => this.#sent(message));
      }
    } else {
      this.#mux.poll(performance.now());
    }
    if (this.#mux.isClosed) this.#close();
    else this.#arm();
  }

  #sent(message: Uint8Array): void {
    if (this.#mayRecycle) this.#mux.recycle(message);
    if (this.#isBlocked) this.#flush();
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
      if (this.#mux.isClosed) this.#close();
      else this.#arm();
    } else {
      this.#flush();
    }
  }

  /** The tunnel is over: its last message has been handed over. */
  #close(): void {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    if (socket.readyState === WebSocket.CLOSED) return;
    if (socket.readyState === WebSocket.CONNECTING || this.#isBlocked) {
      socket.terminate();
      return;
    }
    socket.close(1000);
    setTimeout(() => socket.terminate(), CLOSE_TIMEOUT_MS).unref();
  }

  #lost(): void {
    clearTimeout(this.#timer);
    this.#mux.close('CONNECTION_LOST');
  }
}
