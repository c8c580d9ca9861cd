/**
 * Passes a connection on to the application, as if its client was connected to it: bytes, ends and resets, both ways,
 * without Node's streams (`sockets/`): this is what every connection to a redirected port costs its application.
 *
 * Nothing is read that the other side does not take, but for what fills its window. Mirrors get copies of what the client sends.
 */

import type {StreamSocket} from '../../sockets/types.ts';
import type {Mirror} from './mirror.ts';

/** What may wait for one side: two reads, so that one is under way while the other is written. */
const WINDOW_BYTES = 524_288;
/** What was written before a reset gets so long to leave, ms: a reader sees it before the reset, as of one kernel. */
const FLUSH_MS = 1_000;

/** Lets what is written leave, then resets. */
function abortAfterFlush(socket: StreamSocket): void {
  if (socket.isClosed) return;
  if (socket.bufferedBytes === 0) {
    socket.destroy(true);
    return;
  }
  const timer = setTimeout(() => socket.destroy(true), FLUSH_MS);
  socket.readBytes = 0;
  socket.handler = {
    onData: () => undefined,
    onEnd: () => undefined,
    onFlushed() {
      if (socket.bufferedBytes > 0) return;
      clearTimeout(timer);
      socket.destroy(true);
    },
    onClose: () => clearTimeout(timer),
  };
}

/** Reads `from`, and writes it to `to`; `over` is called when `from` is closed. */
function forward(
  from: StreamSocket,
  to: StreamSocket,
  copies: readonly Mirror[],
  over: () => void,
): void {
  let hasEnded = false;
  const room = (): number => Math.max(0, WINDOW_BYTES - to.bufferedBytes);
  from.handler = {
    onReadable: room,
    onData(bytes) {
      if (copies.some((mirror) => mirror.isAlive)) {
        const copy = new Uint8Array(bytes);
        for (const mirror of copies) mirror.write(copy);
      }
      to.writeLent(bytes);
      from.readBytes = room();
    },
    onEnd() {
      hasEnded = true;
      for (const mirror of copies) mirror.end();
      to.end();
    },
    onFlushed() {
      if (!to.isClosed) to.readBytes = Math.max(0, WINDOW_BYTES - from.bufferedBytes);
    },
    onClose(error) {
      if (!hasEnded) for (const mirror of copies) mirror.reset();
      // In good order it closes when both directions are over, and so does the other one by itself.
      if (error !== undefined || !hasEnded) abortAfterFlush(to);
      over();
    },
  };
  from.readBytes = WINDOW_BYTES;
}

/** Joins a client and the application, which nobody reads yet; resolves when both are closed, never rejects. */
export async function pass(
  client: StreamSocket,
  application: StreamSocket,
  mirrors: readonly Mirror[],
): Promise<void> {
  const ends = [client, application].map(() => Promise.withResolvers<void>());
  const over = (index: number) => () => ends[index]?.resolve();
  if (client.isClosed || application.isClosed) {
    for (const socket of [client, application]) socket.destroy(true);
    for (const mirror of mirrors) mirror.reset();
    return;
  }
  forward(client, application, mirrors, over(0));
  forward(application, client, [], over(1));
  await Promise.all(ends.map(({promise}) => promise));
}
