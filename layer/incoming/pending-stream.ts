/**
 * A stream that the agent has opened for a connection of the target, until somebody here takes it.
 *
 * Until then the few bytes that the agent may send ahead wait. Of a copy, what is answered goes nowhere, as fast as it
 * comes: the application answers.
 */

import type {Socket} from 'node:net';
import type {MuxStream, StreamHandler} from '../../tunnel/types.ts';
import {relay} from '../relay.ts';
import type {ByteStream} from '../streams.ts';

/** What may be under way that is thrown away. */
const discardWindowBytes = 1 << 20;

const nothing = new Uint8Array(0);

/** A stream whose bytes from here go nowhere. */
function discarding(stream: MuxStream): ByteStream {
  return {
    writable: discardWindowBytes,
    write: () => undefined,
    end: () => undefined,
    reset: (errno) => stream.reset(errno),
    consumed: (offset) => stream.consumed(offset),
  };
}

export class PendingStream {
  /** Where the answers go. */
  readonly out: ByteStream;
  readonly #stream: MuxStream;
  readonly #isCopy: boolean;
  readonly #early: Uint8Array[] = [];
  #hasEnded = false;

  /** `onReset`: the connection is no more, before anybody has taken it. */
  constructor(stream: MuxStream, isCopy: boolean, onReset: () => void) {
    this.#stream = stream;
    this.#isCopy = isCopy;
    this.out = isCopy ? discarding(stream) : stream;
    stream.handler = {
      onData: (chunk) => void this.#early.push(chunk),
      onEnd: () => {
        this.#hasEnded = true;
      },
      onReset,
    };
  }

  /** Says yes, and gives what came ahead to who takes it from now on. */
  take(handler: StreamHandler): void {
    this.#stream.handler = handler;
    this.#stream.accept(nothing);
    if (this.#isCopy) this.#stream.end();
    handler.onOpened?.(nothing);
    for (const chunk of this.#early.splice(0)) handler.onData?.(chunk);
    if (this.#hasEnded) handler.onEnd?.();
  }

  /** A connected socket (made with `allowHalfOpen`) takes it. */
  relayTo(socket: Socket): void {
    relay(socket, (handler) => {
      queueMicrotask(() => this.take(handler));
      return this.out;
    });
  }
}
