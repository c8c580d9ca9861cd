/**
 * A tcp stream: one connection from the pod to wherever the app wants to go.
 *
 * Theory of operation. The stream is accepted when the kernel has connected, or refused with its
 * errno; there is no timeout of ours, since the kernel's is the one the app would have met. Then
 * everything that happens on one side is done to the other: bytes, FIN for FIN, RST for RST.
 *
 * Backpressure towards the target: received bytes count as consumed when the kernel has taken them,
 * so that no more than the stream's window waits here (`backlog.ts`). Towards the layer: the socket is read only
 * while the stream is writable. All sockets share one read buffer, because libuv fills it and
 * calls back in the same breath, and the stream copies; a read is at most what the stream takes,
 * or 4 KiB when that is less: what does not fit is held back until it does.
 */

import {connect, type Socket} from 'node:net';
import {emitEndpoint, parseEndpoint} from '../../tunnel/messages.ts';
import type {ErrnoName, MuxStream} from '../../tunnel/types.ts';
import type {Capacity} from '../capacity.ts';
import {errnoOf} from '../errno.ts';
import {formatAddress, parseAddress} from './address.ts';
import {Backlog} from './backlog.ts';

/** One read: the largest piece of data that libuv and a frame take at once. */
const READ_BYTES = 65_536;
const LEAST_READ_BYTES = 4096;
/** Linux net.ipv4.tcp_keepalive_time is two hours; a dead flow should not hold a socket that long. */
const KEEPALIVE_MS = 60_000;

const readBuffer = new Uint8Array(READ_BYTES);

export interface TcpDialOptions {
  /** Where what waits is counted. */
  readonly capacity?: Capacity | undefined;
  /** Called once, when nothing is left. */
  readonly onClosed: () => void;
}

/**
 * Connects to the endpoint in `body` and ties the stream to the connection. Throws ProtocolError
 * BODY_MALFORMED.
 */
export function dialTcp(stream: MuxStream, body: Uint8Array, options: TcpDialOptions): void {
  const destination = parseEndpoint(body);
  if (destination.port === 0) {
    // The kernel refuses it too, but Node throws first.
    stream.refuse('ECONNREFUSED');
    options.onClosed();
    return;
  }
  const connection = new Connection(stream, options);
  connection.start(formatAddress(destination.address), destination.port);
}

class Connection {
  readonly #stream: MuxStream;
  readonly #options: TcpDialOptions;
  #received = 0;
  #backlog: Backlog | undefined;
  /** Bytes that were read but exceed what the stream takes. */
  #held: Uint8Array | undefined;
  #hasEnded = false;
  /** The app does not read any more: the kernel would go on acknowledging, and so do we. */
  #isDiscarding = false;
  #isOver = false;

  constructor(stream: MuxStream, options: TcpDialOptions) {
    this.#stream = stream;
    this.#options = options;
  }

  start(host: string, port: number): void {
    const socket = connect({
      host,
      port,
      allowHalfOpen: true,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEPALIVE_MS,
      onread: {
        buffer: () => this.#nextBuffer(),
        callback: (bytes, buffer) => this.#onRead(buffer.subarray(0, bytes)),
      },
    });
    socket.on('connect', () => this.#onConnect(socket));
    socket.on('end', () => this.#onSocketEnd());
    socket.on('error', (error) => this.#onError(errnoOf(error)));
    socket.on('close', () => this.#onClose());
    const backlog = new Backlog(socket, this.#options.capacity, () => this.#onTaken());
    this.#backlog = backlog;
    this.#stream.handler = {
      onData: (chunk) => this.#onData(socket, chunk),
      onEnd: () => backlog.end(),
      onWritable: () => this.#onWritable(socket),
      onStop: () => this.#discard(socket),
      onReset: () => this.#abandon(socket),
    };
  }

  // ---- from the socket ----

  #onConnect(socket: Socket): void {
    const address = parseAddress(socket.localAddress ?? '') ?? new Uint8Array(4);
    this.#stream.accept(emitEndpoint({address, port: socket.localPort ?? 0}));
    if (this.#stream.writable === 0) socket.pause();
  }

  #nextBuffer(): Uint8Array {
    const bytes = Math.max(LEAST_READ_BYTES, this.#isDiscarding ? READ_BYTES : this.#room());
    return bytes >= READ_BYTES ? readBuffer : readBuffer.subarray(0, bytes);
  }

  #room(): number {
    return this.#stream.writable;
  }

  /** Returns whether to go on reading. */
  #onRead(bytes: Uint8Array): boolean {
    if (this.#isDiscarding) return true;
    const room = this.#room();
    if (bytes.length <= room) {
      this.#stream.write(bytes);
      return bytes.length < room;
    }
    this.#stream.write(bytes.subarray(0, room));
    this.#held = bytes.slice(room);
    return false;
  }

  #onSocketEnd(): void {
    this.#hasEnded = true;
    if (this.#held === undefined) this.#stream.end();
  }

  #onError(errno: ErrnoName): void {
    if (this.#isOver) return;
    this.#isOver = true;
    // Refuses the stream when it is not accepted yet. EPIPE is our writing into a connection that
    // the target has reset: the app will see it as what it is.
    this.#stream.reset(errno === 'EPIPE' ? 'ECONNRESET' : errno);
  }

  #onClose(): void {
    this.#held = undefined;
    this.#backlog?.close();
    this.#options.onClosed();
  }

  // ---- from the layer ----

  #onData(socket: Socket, chunk: Uint8Array): void {
    this.#received += chunk.length;
    if (this.#backlog?.write(chunk) !== false) return;
    this.#stream.reset('ENOBUFS');
    this.#abandon(socket);
  }

  #onTaken(): void {
    // What still waits was received last.
    if (!this.#isOver) this.#stream.consumed(this.#received - (this.#backlog?.bytes ?? 0));
  }

  #onWritable(socket: Socket): void {
    const held = this.#held;
    if (held !== undefined) {
      const count = Math.min(held.length, this.#room());
      this.#stream.write(held.subarray(0, count));
      this.#held = count === held.length ? undefined : held.subarray(count);
      if (this.#held !== undefined) return;
      if (this.#hasEnded) this.#stream.end();
    }
    if (this.#room() > 0) socket.resume();
  }

  #discard(socket: Socket): void {
    this.#isDiscarding = true;
    this.#held = undefined;
    socket.resume();
  }

  #abandon(socket: Socket): void {
    this.#isOver = true;
    // A RST needs a connection; a pending connect is simply given up.
    if (socket.connecting) socket.destroy();
    else socket.resetAndDestroy();
  }
}
