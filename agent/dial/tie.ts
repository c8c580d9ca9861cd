/**
 * Ties a stream to a connection of the pod's: everything that happens on one side is done to the other, bytes, FIN for FIN,
 * RST for RST.
 *
 * Theory of operation. Backpressure towards the target: received bytes count as consumed when the kernel has taken them,
 * so that no more than the stream's window waits here. Towards the layer: the socket is read only as far as
 * the stream is writable.
 *
 * All that waits for the kernel is counted in a pool that connections share (`tunnel/memory.ts`). When that is
 * used up, a connection that adds to more than a little is reset; a little each may have beyond it.
 */

import type {StreamSocket} from '../../sockets/types.ts';
import type {MuxStream} from '../../tunnel/types.ts';
import type {Capacity} from '../capacity.ts';
import {errnoOf} from '../errno.ts';

/** What is read and dropped at a time, once the app does not read any more. */
const DISCARD_BYTES = 65_536;
/** What a connection may have waiting although the pool is used up, and by how much that may exceed it. */
const LITTLE_BYTES = 16_384;
const EXCESS = 1.25;

export interface TieOptions {
  /** Where what waits is counted. */
  readonly capacity: Capacity | undefined;
  /** The socket is connected: accepts the stream. */
  readonly onConnect: () => void;
  /** Called once, when nothing is left. */
  readonly onClosed: () => void;
}

/**
 * Ties them, and refuses the stream with the errno of a socket that does not get connected. The socket calls back when it
 * is; for one that is already, call what this returns.
 */
export function tie(
  stream: MuxStream,
  socket: StreamSocket,
  {capacity, onConnect, onClosed}: TieOptions,
): () => void {
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
  const begin = (): void => {
    isConnected = true;
    onConnect();
    read();
  };

  socket.handler = {
    onConnect: begin,
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
  return begin;
}
