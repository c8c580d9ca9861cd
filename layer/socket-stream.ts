/**
 * A socket of this process as a stream: what the tunnel does for a connection of the pod, this does for one that
 * was made here.
 *
 * Credit is bounded both ways: `write` takes no more than `windowBytes` beyond what the kernel has taken,
 * and the socket is read no further than `windowBytes` beyond what was consumed.
 */

import type {Socket} from 'node:net';
import {socketOf} from '../sockets/of-stream.ts';
import type {StreamSocket} from '../sockets/types.ts';
import type {StreamHandler} from '../tunnel/types.ts';
import type {ByteStream} from './streams.ts';

/** Bytes under way in a direction; as much as fills a loopback connection. */
const windowBytes = 512 * 1024;

/** What is copied to go out with what follows it; a larger piece costs less to be written at once. */
const copiedBytes = 2048;

/**
 * Makes a stream of a connected socket. Its failure is told by `onReset`, once; `onOpened` and `onRefused` are the
 * caller's business, and so is `onClosed`, when nothing is left of it. What is written must stay as it is for this turn.
 */
export function streamOf(
  socket: StreamSocket,
  handler: StreamHandler,
  onClosed?: () => void,
): ByteStream {
  let isOver = false;
  let received = 0;
  let consumed = 0;
  const read = (): void => {
    socket.readBytes = windowBytes - (received - consumed);
  };

  socket.handler = {
    onData(bytes) {
      received += bytes.length;
      read();
      if (isOver) return;
      if (handler.onLentData === undefined) handler.onData?.(new Uint8Array(bytes));
      else handler.onLentData(bytes);
    },
    onEnd() {
      if (!isOver) handler.onEnd?.();
    },
    onFlushed() {
      if (!isOver) handler.onWritable?.();
    },
    onClose(error) {
      onClosed?.();
      if (isOver) return;
      isOver = true;
      if (error === undefined) handler.onClose?.();
      else handler.onReset?.(error.code === 'EPIPE' ? 'ECONNRESET' : (error.code ?? 'ECONNRESET'));
    },
  };
  read();

  return {
    get writable() {
      return isOver || !socket.isWritable ? 0 : Math.max(0, windowBytes - socket.bufferedBytes);
    },
    write: (chunk) => socket.writeLent(chunk),
    end: () => socket.end(),
    reset() {
      isOver = true;
      socket.destroy(true);
    },
    consumed(offset) {
      consumed = offset;
      read();
    },
  };
}

/**
 * Makes a stream of a connected socket of Node's (made with `allowHalfOpen`), which ends with it. What is written may be
 * used again at once: who asks for files has two requests in one turn, the second where the first was.
 */
export function streamOfSocket(made: Socket, handler: StreamHandler): ByteStream {
  made.setNoDelay(true);
  made.on('error', () => undefined); // told as the stream's end
  const {socket, head} = socketOf(made, new Uint8Array(0), true);
  const stream = streamOf(socket, handler, () => made.destroy());
  if (head.length > 0) queueMicrotask(() => socket.handler?.onData(head));
  return Object.assign(stream, {
    write(chunk: Uint8Array): void {
      // Of Node's pool: a buffer of its own costs more than the copy.
      if (chunk.length <= copiedBytes) socket.write(Buffer.from(chunk));
      else {
        socket.writeLent(chunk);
        socket.flush(); // which copies what the kernel has not taken
      }
    },
  });
}
