/**
 * A connection to a port of a pod, by the API server's port-forward: a duplex stream.
 *
 * Theory of operation. A WebSocket of protocol `v4.channel.k8s.io` carries two channels for the one port:
 * 0 for the data, 1 for what went wrong; a message's first byte names its channel, and the first message of
 * each holds the port's number. The kubelet connects after it has sent these: that nothing listens comes
 * as an error a moment later.
 *
 * Backpressure goes both ways: the WebSocket is paused while nobody reads, and a write is done when the
 * WebSocket's own write is. There is no half-close in this protocol: the end of one direction ends both.
 * A ping every 10 s keeps load balancers from cutting what idles, and tells within 20 s that the other end
 * is gone.
 *
 * Bytes are received without a copy. Sending copies them once, to stand behind the channel's byte in one
 * frame (the API server takes each frame for a message of its own, so the byte can't be sent before them);
 * Node's TLS copies what comes in several pieces in any case. The buffers of bulk messages are used again:
 * garbage outside of V8's heap costs full collections, and the client library makes these dear.
 */

import {Duplex} from 'node:stream';
import type {RawData, WebSocket} from 'ws';
import {MirrordError} from '../../layer/errors.ts';
import type {KubeClient} from './client.ts';
import {apiPath, resources} from './path.ts';

/** A port of a pod. */
export interface PodPort {
  namespace: string;
  pod: string;
  port: number;
}

const protocol = 'v4.channel.k8s.io';
const dataChannel = 0;
const errorChannel = 1;
/** The first message of a channel: its byte, and the port in two. */
const portMessageBytes = 3;
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
/** A smaller message gets a buffer of Node's pool, or of its own, bytes. */
const bulkBytes = 16 * 1024;
/** As many as are on their way at a time, mostly. */
const keptBuffers = 4;

function bytesOf(data: RawData): Buffer {
  if (Array.isArray(data)) return Buffer.concat(data);
  return data instanceof ArrayBuffer ? Buffer.from(data) : data;
}

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
  readonly #socket: WebSocket;
  readonly #place: PodPort;
  readonly #opened = Promise.withResolvers<void>();
  /** Channels whose first message has come. */
  readonly #channels = new Set<number>();
  #complaint = '';
  #isAlive = true;
  readonly #timer: NodeJS.Timeout;
  /** For bulk messages. */
  readonly #buffers: Buffer[] = [];

  constructor(socket: WebSocket, place: PodPort) {
    super({
      allowHalfOpen: false,
      readableHighWaterMark: highWaterBytes,
      writableHighWaterMark: highWaterBytes,
    });
    this.#socket = socket;
    this.#place = place;
    this.#opened.promise.catch(() => undefined); // whoever opens it waits for it
    socket.on('message', (data) => this.#receive(bytesOf(data)));
    socket.on('pong', () => {
      this.#isAlive = true;
    });
    // An error is followed by 'close'.
    socket.on('error', (error) => this.destroy(failure(place, error.message, error)));
    socket.on('close', (code) => this.#closed(code));
    this.#timer = setInterval(() => this.#ping(), pingIntervalMs);
    this.#timer.unref();
    // Whoever opened it may not listen yet; `opened` and `errored` tell, too.
    this.on('error', () => undefined);
    socket.resume();
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

  #receive(message: Buffer): void {
    this.#isAlive = true;
    const channel = message[0] ?? -1;
    if (!this.#channels.has(channel)) {
      this.#channels.add(channel);
      if (message.length !== portMessageBytes) {
        this.destroy(failure(this.#place, 'the API server speaks another protocol'));
      } else if (this.#channels.size === 2) {
        this.#opened.resolve();
      }
      return;
    }
    const payload = message.subarray(1);
    if (channel === errorChannel) {
      this.#complaint = payload.toString('utf8').trim();
      if (this.#complaint !== '') this.destroy(failure(this.#place, this.#complaint));
    } else if (channel === dataChannel && payload.length > 0 && !this.push(payload)) {
      this.#socket.pause();
    }
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
    this.#socket.ping(undefined, undefined, () => undefined);
  }

  #closed(code: number): void {
    if (this.#channels.size < 2) {
      this.destroy(failure(this.#place, `the connection was closed (${code})`));
      return;
    }
    // 1000 and 1005: both ends are content, as we are once we have closed it. Otherwise the way is gone, or
    // the API server.
    if (code === 1000 || code === 1005 || this.writableFinished) this.push(null);
    else this.destroy(failure(this.#place, `the connection broke (${code})`));
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
    const isBulk = bytes > bulkBytes && bytes < bufferBytes;
    const buffer = isBulk
      ? (this.#buffers.pop() ?? Buffer.allocUnsafeSlow(bufferBytes))
      : Buffer.allocUnsafe(bytes + 1);
    const message = buffer.subarray(0, bytes + 1);
    message[0] = dataChannel;
    let at = 1;
    for (const piece of pieces) {
      message.set(piece, at);
      at += piece.length;
    }
    this.#socket.send(message, {binary: true}, (error) => {
      if (isBulk && this.#buffers.length < keptBuffers) this.#buffers.push(buffer);
      done(error);
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
    this.#socket.close(1000);
    callback();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    clearInterval(this.#timer);
    this.#opened.reject(error ?? failure(this.#place, 'the connection was closed'));
    this.#socket.terminate();
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
  const socket = await client.openWebSocket(path, {ports: port}, [protocol]);
  const forward = new PortForward(socket, place);
  await forward.opened();
  return forward;
}
