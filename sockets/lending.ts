/**
 * Connections of Node's that read into one buffer: TLS, which the addon can't read.
 *
 * Node gives each read a buffer of its own, of 16 KiB for a record of TLS: garbage outside of V8's heap, and as much
 * work as the record. With `onread` a connection reads into ours. Until somebody takes what comes as it is, it is
 * copied into the stream, as if nothing was special.
 */

import type {Socket} from 'node:net';
import type {Duplex} from 'node:stream';

/** A record of TLS has 16 KiB at most. */
const BUFFER_BYTES = 65_536;

const buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
const lenders = new WeakMap<Duplex, LendingRead>();

/** The reading of one connection that is to be made. */
export class LendingRead {
  /** Takes what comes, whose memory is used again as soon as that returns. */
  taker: ((bytes: Uint8Array) => void) | undefined;
  #socket: Socket | undefined;

  /** What a connection has to be made with: an option of `net.connect` and `tls.connect`. */
  readonly onread = {
    buffer,
    callback: (count: number, bytes: Uint8Array): boolean => {
      const piece = bytes.subarray(0, count);
      if (this.taker === undefined) this.#socket?.push(Buffer.from(piece));
      else this.taker(piece);
      return true;
    },
  };

  /** Notes the connection that was made so. */
  made(socket: Socket): void {
    this.#socket = socket;
    lenders.set(socket, this);
  }
}

/** How a stream's connection reads; undefined: as Node has it. */
export function lenderOf(stream: Duplex): LendingRead | undefined {
  return lenders.get(stream);
}
