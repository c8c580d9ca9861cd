/**
 * Passes a connection on to the application, as if its client was connected to it: bytes, ends and resets, both ways,
 * without Node's streams (`sockets/`). This is what every connection to a redirected port costs its application.
 *
 * Who is slow slows the other, by as much as may wait for him. That is a window for each as long as all together keep
 * less than HELD_BYTES, and a little for each above it: the agent may be in the target's memory. Mirrors get copies of
 * what the client sends, and slow nobody (`mirror.ts`).
 */

import type {StreamSocket} from '../../sockets/types.ts';
import {Pool} from '../../tunnel/memory.ts';
import type {Mirror} from './mirror.ts';

/** What may wait for one side: two reads, so that one is under way while the other is written. */
const WINDOW_BYTES = 524_288;
const LITTLE_BYTES = 16_384;
/** What all may have waiting before that is what each may have. */
const HELD_BYTES = 8_388_608;
/** What was written before a reset gets so long to leave, ms: a reader sees it before the reset, as of one kernel. */
const FLUSH_MS = 1_000;

/** What waits for anybody. */
export const held = new Pool(HELD_BYTES);

/** Lets what is written leave, then resets. Its handler hears of the end. */
function abortAfterFlush(socket: StreamSocket): void {
  if (socket.isClosed) return;
  const {handler: former} = socket;
  if (socket.bufferedBytes === 0 || former === undefined) {
    socket.destroy(true);
    return;
  }
  const timer = setTimeout(() => socket.destroy(true), FLUSH_MS);
  socket.handler = {
    onData: () => undefined,
    onEnd: () => undefined,
    onFlushed() {
      former.onFlushed?.();
      if (socket.bufferedBytes === 0) socket.destroy(true);
    },
    onClose(error) {
      clearTimeout(timer);
      former.onClose(error);
    },
  };
  socket.readBytes = 0;
}

/** One side, and what waits for it. */
class Side {
  readonly socket: StreamSocket;
  readonly #over = Promise.withResolvers<void>();
  #heldBytes = 0;

  constructor(socket: StreamSocket) {
    this.socket = socket;
  }

  get over(): Promise<void> {
    return this.#over.promise;
  }

  /** How much more may be written to it now. */
  get room(): number {
    return Math.max(0, (held.isFull ? LITTLE_BYTES : WINDOW_BYTES) - this.socket.bufferedBytes);
  }

  /** After whatever changes what waits. */
  count(): void {
    const bytes = this.socket.isClosed ? 0 : this.socket.bufferedBytes;
    held.change(bytes - this.#heldBytes);
    this.#heldBytes = bytes;
  }

  closed(): void {
    this.count();
    this.#over.resolve();
  }
}

/** Reads `from`, and writes it to `to`. */
function forward(from: Side, to: Side, copies: readonly Mirror[]): void {
  let hasEnded = false;
  from.socket.handler = {
    onReadable: () => to.room,
    onData(bytes) {
      if (copies.some((mirror) => mirror.isAlive)) {
        const copy = new Uint8Array(bytes);
        for (const mirror of copies) mirror.write(copy);
      }
      to.socket.writeLent(bytes);
      to.count();
      from.socket.readBytes = to.room;
    },
    onEnd() {
      hasEnded = true;
      for (const mirror of copies) mirror.end();
      to.socket.end();
    },
    onFlushed() {
      from.count();
      if (!to.socket.isClosed) to.socket.readBytes = from.room;
    },
    onClose(error) {
      from.closed();
      if (!hasEnded) for (const mirror of copies) mirror.reset();
      // In good order it closes when both directions are over, and so does the other one by itself.
      if (error !== undefined || !hasEnded) abortAfterFlush(to.socket);
    },
  };
  from.socket.readBytes = WINDOW_BYTES;
}

/** Joins a client and the application, which nobody reads yet; resolves when both are closed, never rejects. */
export async function pass(
  client: StreamSocket,
  application: StreamSocket,
  mirrors: readonly Mirror[],
): Promise<void> {
  if (client.isClosed || application.isClosed) {
    for (const socket of [client, application]) socket.destroy(true);
    for (const mirror of mirrors) mirror.reset();
    return;
  }
  const [one, other] = [new Side(client), new Side(application)];
  forward(one, other, mirrors);
  forward(other, one, []);
  await Promise.all([one.over, other.over]);
}
