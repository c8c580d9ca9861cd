/**
 * A stream of the tunnel as a Duplex of Node: what a connection into a client's program is to the interceptor.
 *
 * Credit is passed through: what the reader has not taken stays the client's, and `write` is done when the
 * tunnel has taken all of it. `destroy` resets, unless both ends were said.
 */

import {Duplex} from 'node:stream';
import {emitIncoming, type TunnelEndpoint} from '../../tunnel/messages.ts';
import type {ErrnoName, MuxStream, StreamHandler} from '../../tunnel/types.ts';
import type {Subscriber} from './subscriptions.ts';

/** Opens a stream towards a client; throws when its tunnel is over. */
export type OpenToClient = (handler: StreamHandler) => MuxStream;

/** Both ends of a connection to the pod. */
export interface Ends {
  readonly peer: TunnelEndpoint;
  readonly local: TunnelEndpoint;
}

/** Opens a connection that came for a subscription. */
export function opener({params, client}: Subscriber, {peer, local}: Ends): OpenToClient {
  const body = emitIncoming({subscription: params.id, peer, local});
  return (handler) => client.open(body, handler);
}

/** An errno of the tunnel as an error, as Node's own. */
function errnoError(code: ErrnoName): Error {
  return Object.assign(new Error(`the client's program: ${code}`), {code});
}

class TunnelDuplex extends Duplex {
  #stream: MuxStream | undefined;
  #received = 0;
  #isReaderFull = false;
  #pending: {rest: Uint8Array; done: () => void} | undefined;
  #isStopped = false;
  /** Both ends have said their last word in good order; bytes may still be on their way. */
  #hasEnded = false;
  #isEnding = false;

  constructor() {
    super({allowHalfOpen: true});
  }

  /** Opens the stream; `settle` is told whether the client took it. */
  open(open: OpenToClient, settle: (errno: ErrnoName | undefined) => void): void {
    const fail = (errno: ErrnoName): void => {
      this.#stream = undefined;
      settle(errno);
      this.destroy(errnoError(errno));
    };
    this.#stream = open({
      onOpened: () => settle(undefined),
      onRefused: fail,
      onReset: fail,
      onData: (chunk) => this.#onData(chunk),
      onEnd: () => {
        this.#hasEnded = true;
        this.push(null);
      },
      onWritable: () => this.#flush(),
      onStop: () => {
        this.#isStopped = true;
        this.#flush();
      },
      onClose: () => {
        this.#stream = undefined;
      },
    });
  }

  override _read(): void {
    if (!this.#isReaderFull) return;
    this.#isReaderFull = false;
    this.#stream?.consumed(this.#received);
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.#pending = {rest: chunk, done};
    this.#flush();
  }

  override _final(done: () => void): void {
    this.#isEnding = true;
    this.#stream?.end();
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    if (error !== null || !this.#hasEnded || !this.#isEnding) this.#stream?.reset('ECONNRESET');
    this.#stream = undefined;
    this.#pending = undefined;
    done(error);
  }

  #onData(chunk: Uint8Array): void {
    this.#received += chunk.length;
    // Beyond the reader's high-water mark the bytes stay unacknowledged, within the stream's window.
    if (this.push(chunk)) this.#stream?.consumed(this.#received);
    else this.#isReaderFull = true;
  }

  #flush(): void {
    const pending = this.#pending;
    if (pending === undefined) return;
    const room = this.#isStopped ? pending.rest.length : (this.#stream?.writable ?? 0);
    const count = Math.min(room, pending.rest.length);
    if (count > 0 && !this.#isStopped) this.#stream?.write(pending.rest.subarray(0, count));
    if (count === pending.rest.length) {
      this.#pending = undefined;
      pending.done();
    } else {
      pending.rest = pending.rest.subarray(count);
    }
  }
}

/**
 * Opens a connection into a client's program. Rejects with an error whose `code` is the errno of its refusal, or
 * ETIMEDOUT when it has not answered in time.
 */
export async function connectClient(open: OpenToClient, timeoutMs: number): Promise<Duplex> {
  const {promise, resolve, reject} = Promise.withResolvers<void>();
  const duplex = new TunnelDuplex();
  duplex.on('error', () => undefined); // whoever joins it hears of it again
  const timer = setTimeout(() => reject(errnoError('ETIMEDOUT')), timeoutMs);
  try {
    duplex.open(open, (errno) => (errno === undefined ? resolve() : reject(errnoError(errno))));
    await promise;
    return duplex;
  } catch (error) {
    duplex.destroy();
    throw error;
  } finally {
    clearTimeout(timer);
  }
}
