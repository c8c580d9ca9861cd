/**
 * Joins a connection and one into a client's program, so that each end sees the other as if they were connected:
 * bytes, ends and resets, both ways. Nothing is read that the other side does not take. (What is passed on to the
 * application is `pass.ts`.)
 */

import {Socket} from 'node:net';
import type {Duplex} from 'node:stream';
import {resetSocket} from '../../sockets/reset.ts';

/** What was written before a reset gets so long to leave, ms: a reader sees it before the reset, as of one kernel. */
const FLUSH_MS = 1_000;

/** Ends a connection as a reset, where it knows one, and nobody hears of it any more. */
export function abort(stream: Duplex): void {
  if (stream.destroyed) return;
  stream.on('error', () => undefined);
  if (stream instanceof Socket) resetSocket(stream);
  else stream.destroy();
}

/** Lets what is written leave, then resets. */
function abortAfterFlush(stream: Duplex): void {
  if (stream.destroyed || stream.writableLength === 0) {
    abort(stream);
    return;
  }
  const timer = setTimeout(() => abort(stream), FLUSH_MS);
  stream.once('drain', () => {
    clearTimeout(timer);
    abort(stream);
  });
  stream.once('close', () => clearTimeout(timer));
}

function couple(one: Duplex, other: Duplex): void {
  one.pipe(other);
  one.on('error', () => abortAfterFlush(other));
  one.on('close', () => {
    // After ends in good order the other one closes by itself, when its own are done.
    if (!one.readableEnded || !one.writableFinished) abortAfterFlush(other);
  });
}

/** Joins two connections (made with `allowHalfOpen`, not flowing); resolves when both are over, never rejects. */
export async function join(one: Duplex, other: Duplex): Promise<void> {
  const over = [one, other].map(
    (stream) => new Promise<void>((resolve) => void stream.once('close', () => resolve())),
  );
  if (one.destroyed || other.destroyed) {
    abort(one);
    abort(other);
    return;
  }
  couple(one, other);
  couple(other, one);
  await Promise.all(over);
}
