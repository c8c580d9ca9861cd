/**
 * A TCP socket of this process as a stream: what the tunnel does for a connection of the pod, this does
 * for one that Node has made.
 *
 * Credit is bounded both ways: `write` takes no more than `windowBytes` beyond what the kernel has taken,
 * and the socket is read no further than `windowBytes` beyond what was consumed.
 */

import type {Socket} from 'node:net';
import type {StreamHandler} from '../tunnel/types.ts';
import type {ByteStream} from './streams.ts';

/** Bytes under way in a direction; as much as fills a loopback connection. */
const windowBytes = 512 * 1024;

/**
 * Makes a stream of a connected socket (made with `allowHalfOpen`). Its failure is told by `onReset`, once;
 * `onOpened` and `onRefused` are the caller's business.
 */
export function streamOfSocket(socket: Socket, handler: StreamHandler): ByteStream {
  let isOver = false;
  let pendingBytes = 0;
  let received = 0;
  let consumed = 0;

  socket.setNoDelay(true);
  socket.on('data', (chunk: Buffer) => {
    received += chunk.length;
    if (received - consumed >= windowBytes) socket.pause();
    if (!isOver) handler.onData?.(chunk);
  });
  socket.on('end', () => {
    if (!isOver) handler.onEnd?.();
  });
  socket.on('error', (error: NodeJS.ErrnoException) => {
    if (!isOver) handler.onReset?.(error.code ?? 'ECONNRESET');
    isOver = true;
  });
  socket.on('close', () => {
    if (!isOver) handler.onClose?.();
    isOver = true;
  });

  return {
    get writable() {
      return isOver || socket.writableEnded ? 0 : windowBytes - pendingBytes;
    },
    write(chunk) {
      pendingBytes += chunk.length;
      socket.write(Buffer.from(chunk), () => {
        pendingBytes -= chunk.length;
        if (!isOver) handler.onWritable?.();
      });
    },
    end: () => void socket.end(),
    reset() {
      isOver = true;
      socket.resetAndDestroy();
    },
    consumed(offset) {
      consumed = offset;
      if (received - consumed < windowBytes && socket.isPaused()) socket.resume();
    },
  };
}
