/**
 * The copy of a connection's bytes for a client's program. The application is never slowed: what the client
 * does not take in time waits here, up to a limit, and then the copy is cut off and its client told.
 */

import type {ErrnoName, MuxStream} from '../../tunnel/types.ts';
import {type Subscriber, warn} from './subscriptions.ts';
import {type Ends, type OpenToClient, opener} from './tunnel-socket.ts';
import {waitingCopies} from './waiting-copies.ts';

/** What may wait for a slow client, of one connection: four initial windows of a stream. */
export const MIRROR_QUEUE_BYTES = 1 << 20;

export class Mirror {
  readonly #queue: Uint8Array[] = [];
  readonly #onLag: () => void;
  #stream: MuxStream | undefined;
  #queuedBytes = 0;
  #isOpen = false;
  #isEnding = false;
  #isBroken = false;

  /** `onLag`: the client was too slow, and gets no more of this connection. */
  constructor(open: OpenToClient, onLag: () => void) {
    this.#onLag = onLag;
    const forget = (_errno: ErrnoName): void => this.#forget();
    let received = 0;
    this.#stream = open({
      onOpened: () => {
        this.#isOpen = true;
        this.#flush();
      },
      onWritable: () => this.#flush(),
      onData: (chunk) => {
        // A program's answers to a copy go nowhere.
        received += chunk.length;
        this.#stream?.consumed(received);
      },
      onRefused: forget,
      onReset: forget,
      onStop: forget,
      onClose: () => this.#forget(),
    });
  }

  /** Whether anybody still listens. */
  get isAlive(): boolean {
    return this.#stream !== undefined;
  }

  /** Keeps `chunk` until it has left: the caller must not reuse it. */
  write(chunk: Uint8Array): void {
    if (this.#stream === undefined) return;
    if (this.#queuedBytes + chunk.length > MIRROR_QUEUE_BYTES || waitingCopies.isFull) {
      this.#stream.reset('ECONNRESET');
      this.#forget();
      this.#onLag();
      return;
    }
    this.#queue.push(chunk);
    this.#change(chunk.length);
    this.#flush();
  }

  /** The connection's client says no more. */
  end(): void {
    this.#isEnding = true;
    this.#flush();
  }

  /** The connection is broken: a program sees it behind what came before, as of one kernel. */
  reset(): void {
    this.#isBroken = true;
    if (this.#isOpen) this.#flush();
  }

  #flush(): void {
    const stream = this.#stream;
    if (stream === undefined) return;
    for (let first = this.#queue[0]; first !== undefined; first = this.#queue[0]) {
      const count = Math.min(first.length, stream.writable);
      if (count === 0) return;
      stream.write(first.subarray(0, count));
      this.#change(-count);
      if (count === first.length) this.#queue.shift();
      else this.#queue[0] = first.subarray(count);
    }
    if (this.#isEnding) stream.end();
    if (!this.#isBroken) return;
    stream.reset('ECONNRESET');
    this.#forget();
  }

  #forget(): void {
    this.#stream = undefined;
    this.#queue.length = 0;
    this.#change(-this.#queuedBytes);
  }

  #change(bytes: number): void {
    this.#queuedBytes += bytes;
    waitingCopies.change(bytes);
  }
}

/** A copy of a connection for a subscription, which is told if it was too slow; undefined: its tunnel is just gone. */
export function mirrorFor(
  subscription: Subscriber,
  ends: Ends,
  counters: {mirrorsCutOff: number},
): Mirror | undefined {
  try {
    return new Mirror(opener(subscription, ends), () => {
      counters.mirrorsCutOff++;
      warn(
        subscription,
        'MIRROR_TOO_SLOW',
        `a mirrored connection to port ${ends.local.port} was cut off: the program here reads more slowly than the target`,
      );
    });
  } catch {
    return undefined;
  }
}
