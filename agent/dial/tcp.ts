/**
 * A tcp stream: one connection from the pod to wherever the app wants to go.
 *
 * Theory of operation. The stream is accepted when the kernel has connected, or refused with its
 * errno; there is no timeout of ours, since the kernel's is the one the app would have met. Then
 * everything that happens on one side is done to the other: bytes, FIN for FIN, RST for RST.
 *
 * Backpressure towards the target: received bytes count as consumed when the kernel has taken them,
 * so that no more than the stream's window waits here. Towards the layer: the socket is read only as far as
 * the stream is writable.
 *
 * All that waits for the kernel is counted in a pool that connections share (`tunnel/memory.ts`). When that is
 * used up, a connection that adds to more than a little is reset; a little each may have beyond it.
 */

import {connectSocket, type OutgoingSocket} from '../../sockets/connect.ts';
import {emitEndpoint, parseEndpoint} from '../../tunnel/messages.ts';
import type {MuxStream} from '../../tunnel/types.ts';
import type {Capacity} from '../capacity.ts';
import {errnoOf} from '../errno.ts';

/** Linux net.ipv4.tcp_keepalive_time is two hours; a dead flow should not hold a socket that long. */
const KEEPALIVE_MS = 60_000;
/** What is read and dropped at a time, once the app does not read any more. */
const DISCARD_BYTES = 65_536;
/** What a connection may have waiting although the pool is used up, and by how much that may exceed it. */
const LITTLE_BYTES = 16_384;
const EXCESS = 1.25;

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
  const refuse = (errno: string): void => {
    stream.refuse(errno);
    options.onClosed();
  };
  if (destination.port === 0) {
    refuse('ECONNREFUSED'); // the kernel does, too, but Node throws first
    return;
  }
  let socket: OutgoingSocket;
  try {
    socket = connectSocket(destination, KEEPALIVE_MS);
  } catch (error) {
    refuse(errnoOf(error));
    return;
  }
  tie(stream, socket, options);
}

function tie(
  stream: MuxStream,
  socket: OutgoingSocket,
  {capacity, onClosed}: TcpDialOptions,
): void {
  let received = 0;
  let countedBytes = 0;
  let isConnected = false;
  /** The app does not read any more: the kernel would go on acknowledging, and so do we. */
  let isDiscarding = false;

  const count = (bytes: number): void => {
    capacity?.memory.held.change(bytes - countedBytes);
    countedBytes = bytes;
  };
  /** Whether what waits may wait. */
  const fits = (): boolean => {
    if (capacity === undefined || countedBytes === 0) return true;
    const {held} = capacity.memory;
    if (!held.isFull) return true;
    return countedBytes <= LITTLE_BYTES && held.bytes < EXCESS * held.capBytes;
  };
  const room = (): number => (isDiscarding ? DISCARD_BYTES : stream.writable);
  const read = (): void => {
    socket.readBytes = room();
  };

  socket.handler = {
    onConnect() {
      isConnected = true;
      stream.accept(emitEndpoint(socket.localEndpoint()));
      read();
    },
    // What others have written meanwhile may have used up the memory.
    onReadable: room,
    onData(bytes) {
      if (isDiscarding) return;
      stream.write(bytes);
      read();
    },
    onEnd: () => stream.end(),
    onFlushed() {
      count(socket.bufferedBytes);
      if (!fits()) {
        if (capacity !== undefined) capacity.connectionsDropped++;
        stream.reset('ENOBUFS');
        socket.destroy(true);
        return;
      }
      // What still waits was received last.
      stream.consumed(received - countedBytes);
    },
    onClose(error) {
      count(0);
      // Refuses the stream when it is not accepted yet. EPIPE is our writing into a connection that
      // the target has reset: the app will see it as what it is.
      const errno = errnoOf(error);
      if (error !== undefined) stream.reset(errno === 'EPIPE' ? 'ECONNRESET' : errno);
      onClosed();
    },
  };
  stream.handler = {
    onLentData(chunk) {
      received += chunk.length;
      socket.writeLent(chunk);
    },
    onEnd: () => socket.end(),
    onWritable() {
      if (isConnected) read();
    },
    onStop() {
      isDiscarding = true;
      if (isConnected) read();
    },
    // A RST needs a connection; one that is on its way is simply given up.
    onReset: () => socket.destroy(true),
  };
}
