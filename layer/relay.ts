/** Joins a TCP or unix socket and a stream, so that each end sees the other as if they were connected. */

import type {Socket} from 'node:net';
import {resetSocket} from '../sockets/reset.ts';
import type {StreamHandler} from '../tunnel/types.ts';
import type {ByteStream} from './streams.ts';

/**
 * Joins an accepted connection (made with `allowHalfOpen`) and a new stream: bytes, ends and resets, both
 * ways, by credit. A stream that is refused resets the connection; a unix socket knows no reset, it closes.
 */
export function relay(socket: Socket, open: (handler: StreamHandler) => ByteStream): void {
  let consumed = 0;
  const abort = (): void => resetSocket(socket);
  const stream = open({
    onOpened: () => forward(),
    onWritable: () => forward(),
    onRefused: abort,
    onReset: abort,
    onStop: abort,
    onEnd: () => socket.end(),
    onData(chunk) {
      socket.write(chunk, () => {
        consumed += chunk.length;
        stream.consumed(consumed);
      });
    },
  });
  /** Reads no more from the socket than the stream takes. */
  const forward = (): void => {
    while (stream.writable > 0) {
      const chunk: Buffer | null =
        socket.read(Math.min(stream.writable, socket.readableLength)) ?? null;
      if (chunk === null || chunk.length === 0) return;
      stream.write(chunk);
    }
  };
  socket.setNoDelay(true);
  socket.on('readable', forward);
  socket.on('end', () => stream.end());
  socket.on('error', () => stream.reset('ECONNRESET'));
  // Destroyed by us: the other end learns it. After ends in good order, the stream's own may be on its way.
  socket.on('close', () => {
    if (!socket.readableEnded || !socket.writableFinished) stream.reset('ECONNRESET');
  });
}
