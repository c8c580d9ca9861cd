/**
 * A connection to a port of a pod, by the API server's port-forward: a duplex stream.
 *
 * Theory of operation. A WebSocket to the API server carries two channels for the one port: one for the data, one
 * for what went wrong. Which bytes of it are which, says the subprotocol (`port-forward-channels.ts`): SPDY inside
 * of the WebSocket, as kubectl has it, or for API servers before 1.30 messages whose first byte names a channel.
 * The kubelet connects after both channels are open: that nothing listens comes as an error a moment later.
 *
 * Backpressure goes both ways: the WebSocket is paused while nobody reads, and a write is done when the
 * WebSocket's own write is. Half-close is not used; the end of one direction ends both.
 * A ping every 10 s keeps load balancers from cutting what idles, and tells within 20 s that the other end
 * is gone.
 *
 * A tunnel takes the reading and writing over (`port-forward-socket.ts`); until then it is a stream of Node's.
 *
 * Bytes are received without a copy. Sending copies them once, to stand behind the heads of channel and message
 * in one piece: TLS copies what comes in several, and the API server takes each frame for itself.
 * The buffers of bulk messages are used again: garbage outside of V8's heap costs full collections, and the
 * client library makes these dear.
 */

import {Duplex} from 'node:stream';
import {MirrordError} from '../../layer/errors.ts';
import type {StreamSocket} from '../../sockets/types.ts';
import {ABNORMAL_CLOSE, type WebSocketConnection} from '../../tunnel/websocket/connection.ts';
import {CLOSE_CODE, MAX_HEAD_BYTES} from '../../tunnel/websocket/frames.ts';
import type {KubeClient} from './client.ts';
import {apiPath, resources} from './path.ts';
import {type Channels, channelsOf, protocols} from './port-forward-channels.ts';
import {PortForwardSocket} from './port-forward-socket.ts';
import {SPDY_HEAD_BYTES} from './spdy.ts';

/** A port of a pod. */
export interface PodPort {
  namespace: string;
  pod: string;
  port: number;
}

const pingIntervalMs = 10_000;
/** Without any sign of life for this long the connection is dead. */
const deadAfterMs = 20_000;
/** How long the kubelet may take to open the channels. */
const openTimeoutMs = 30_000;
/** What may wait on either side, bytes; the bandwidth-delay product of 10 Gbit/s at 1 ms, and some more. */
const highWaterBytes = 1024 * 1024;
/** Pieces that wait to be written are sent as one message up to this size, bytes. */
const messageBytes = 256 * 1024;
/** With the piece that made it full, which is at most the tunnel's largest message, bytes. */
const bufferBytes = messageBytes + 128 * 1024;
/** In front of what is sent: the heads of message and channel. */
const room = MAX_HEAD_BYTES + SPDY_HEAD_BYTES;
/** A smaller message gets a buffer of Node's pool, or of its own, bytes. */
const bulkBytes = 16 * 1024;
/** As many as are on their way at a time, mostly. */
const keptBuffers = 4;

function failure({namespace, pod, port}: PodPort, why: string, cause?: unknown): MirrordError {
  return new MirrordError(
    'MIRRORD_PORT_FORWARD_FAILED',
    `port ${port} of pod ${pod} in namespace ${namespace} can't be reached: ${why}`,
    {
      hint: `is the pod running? check: kubectl -n ${namespace} get pod ${pod}`,
      ...(cause !== undefined && {cause}),
    },
  );
}

class PortForward extends Duplex {
  readonly #socket: WebSocketConnection;
  readonly #place: PodPort;
  readonly #channels: Channels;
  readonly #opened = Promise.withResolvers<void>();
  #isOpen = false;
  #complaint = '';
  #isAlive = true;
  readonly #timer: NodeJS.Timeout;
  /** For bulk messages. */
  readonly #buffers: Buffer[] = [];
  /** Who reads and writes in the stream's place. */
  #taken: PortForwardSocket | undefined;

  constructor(socket: WebSocketConnection, place: PodPort) {
    super({
      allowHalfOpen: false,
      readableHighWaterMark: highWaterBytes,
      writableHighWaterMark: highWaterBytes,
    });
    this.#socket = socket;
    this.#place = place;
    this.#channels = channelsOf(socket.protocol, {
      onOpen: () => {
        this.#isOpen = true;
        this.#opened.resolve();
      },
      onData: (piece) => {
        if (this.#taken !== undefined) this.#taken.received(piece);
        else if (!this.push(Buffer.from(piece))) socket.pause();
      },
      onComplaint: (piece) => this.#complain(piece),
      onEnd: () => this.#ended(),
      onPong: () => {
        this.#isAlive = true;
      },
      onReply: (bytes) => socket.send(bytes),
    });
    socket.handler = {
      onMessage: () => this.#channels.begin?.(),
      onPayload: (piece) => this.#receive(piece),
      onMessageEnd: () => undefined,
      onPong: () => {
        this.#isAlive = true;
      },
      onClose: (code, error) => this.#closed(code, error),
    };
    this.#timer = setInterval(() => this.#ping(), pingIntervalMs);
    this.#timer.unref();
    // Whoever opened it may not listen yet; `opened` and `errored` tell, too.
    this.on('error', () => undefined);
    const first = this.#channels.open(place.port);
    if (first !== undefined) socket.send(first);
  }

  /** From now on it is read and written by this socket, whose end is also the stream's. */
  becomeSocket(): StreamSocket {
    const socket = this.#socket;
    this.#taken = new PortForwardSocket({
      get bufferedBytes() {
        return socket.bufferedBytes;
      },
      pause: () => socket.pause(),
      resume: () => socket.resume(),
      send: (pieces, bytes, done) => this.#send(pieces, bytes, done),
      end: () => socket.close(),
      destroy: () => this.destroy(),
    });
    return this.#taken;
  }

  /** Resolves when the channels are open. */
  async opened(): Promise<void> {
    const timer = setTimeout(
      () => this.destroy(failure(this.#place, 'the kubelet does not answer')),
      openTimeoutMs,
    );
    try {
      await this.#opened.promise;
      // What the kubelet says of the connection may have come in the same breath.
      if (this.errored !== null) throw this.errored;
    } finally {
      clearTimeout(timer);
    }
  }

  #receive(piece: Uint8Array): void {
    if (this.destroyed) return;
    this.#isAlive = true;
    try {
      this.#channels.push(piece);
    } catch (error) {
      this.destroy(failure(this.#place, 'the API server speaks another protocol', error));
    }
  }

  #complain(piece: Uint8Array): void {
    // It comes in one piece, or what follows is not worth waiting for.
    this.#complaint = Buffer.from(piece).toString('utf8').trim();
    if (this.#complaint !== '') this.destroy(failure(this.#place, this.#complaint));
  }

  #ended(): void {
    if (this.#taken !== undefined) this.#taken.ended();
    else if (this.#isOpen) this.push(null);
    else this.destroy(failure(this.#place, 'the kubelet closed the connection'));
  }

  #ping(): void {
    if (this.#socket.isPaused) {
      this.#isAlive = true; // nobody reads: the pong waits behind data
      return;
    }
    if (!this.#isAlive) {
      this.destroy(failure(this.#place, `no sign of life for ${deadAfterMs / 1000} s`));
      return;
    }
    this.#isAlive = false;
    const ping = this.#channels.ping();
    if (ping === undefined) this.#socket.ping();
    else this.#socket.send(ping);
  }

  #closed(code: number, error: Error | undefined): void {
    // When both ends are content, as we are once we have closed it. Otherwise the way is gone, or the API server.
    const isContent = code === CLOSE_CODE.normal || code === CLOSE_CODE.noStatus;
    if (!this.#isOpen) {
      this.destroy(failure(this.#place, error?.message ?? `the connection was closed (${code})`));
    } else if (isContent || this.writableFinished) {
      if (this.#taken === undefined) this.push(null);
      else this.destroy();
    } else {
      const why = code === ABNORMAL_CLOSE ? (error?.message ?? 'without a word') : `code ${code}`;
      this.destroy(failure(this.#place, `the connection broke (${why})`, error));
    }
  }

  override _read(): void {
    if (this.#socket.isPaused) this.#socket.resume();
  }

  override _write(
    chunk: Uint8Array,
    _encoding: BufferEncoding,
    callback: (error?: Error | null) => void,
  ): void {
    this.#send([chunk], chunk.length, callback);
  }

  override _writev(chunks: {chunk: Uint8Array}[], callback: (error?: Error | null) => void): void {
    let pieces: Uint8Array[] = [];
    let bytes = 0;
    chunks.forEach(({chunk}, index) => {
      pieces.push(chunk);
      bytes += chunk.length;
      const isLast = index === chunks.length - 1;
      if (bytes < messageBytes && !isLast) return;
      this.#send(pieces, bytes, isLast ? callback : () => undefined);
      pieces = [];
      bytes = 0;
    });
  }

  #send(pieces: readonly Uint8Array[], bytes: number, done: (error?: Error | null) => void): void {
    const isBulk = bytes > bulkBytes && bytes <= bufferBytes - room;
    const buffer = isBulk
      ? (this.#buffers.pop() ?? Buffer.allocUnsafeSlow(bufferBytes))
      : Buffer.allocUnsafe(room + bytes);
    let at = room;
    for (const piece of pieces) {
      buffer.set(piece, at);
      at += piece.length;
    }
    const {headBytes} = this.#channels;
    this.#channels.writeHead(buffer, room, bytes);
    this.#socket.sendBehindRoom(buffer, room - headBytes, at, () => {
      if (isBulk && this.#buffers.length < keptBuffers) this.#buffers.push(buffer);
      done();
    });
  }

  /**
   * Nothing is to do: the WebSocket's socket has no delay. That there is this method says, as of the kernel's
   * sockets, that what was written is free again once the write is done.
   */
  setNoDelay(): this {
    return this;
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.#socket.close();
    callback();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    clearInterval(this.#timer);
    this.#opened.reject(error ?? failure(this.#place, 'the connection was closed'));
    this.#socket.terminate();
    this.#taken?.closed(error);
    callback(error);
  }
}

/**
 * Connects. Throws KubeError when the API server refuses, MIRRORD_PORT_FORWARD_FAILED when the kubelet does.
 * That nobody listens on the port is told by the same code, either at once or as an error of the stream.
 */
export async function openPortForward(client: KubeClient, place: PodPort): Promise<Duplex> {
  const {namespace, pod, port} = place;
  const path = apiPath(resources.pods, {namespace, name: pod, subresource: 'portforward'});
  const socket = await client.openWebSocket(path, {ports: port}, protocols);
  const forward = new PortForward(socket, place);
  await forward.opened();
  return forward;
}
