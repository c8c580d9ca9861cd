/** The socket that reads and writes in the place of a stream of Node's. */

import {Socket} from 'node:net';
import type {Duplex} from 'node:stream';
import {TLSSocket} from 'node:tls';
import {DuplexSocket} from './duplex-socket.ts';
import {lenderOf} from './lending.ts';
import {adoptSocket} from './native-socket.ts';
import type {SocketSource, StreamSocket} from './types.ts';

/**
 * Takes over the reading and writing of a stream that nobody reads any more, `head` being what was read of it already.
 * The end of either is the end of the other. `mayLend`: whether what is read may be in memory that is used again; if not,
 * Node goes on reading. Returns what was read before, too.
 */
export function socketOf(
  stream: Duplex,
  head: Uint8Array,
  mayLend: boolean,
): {socket: StreamSocket; head: Uint8Array} {
  const socket = mayLend ? betterSocket(stream) : undefined;
  if (socket !== undefined) return {socket: socket.made, head: joined(head, socket.rest)};
  if (head.length > 0) stream.unshift(head);
  return {socket: new DuplexSocket(stream), head: new Uint8Array(0)};
}

/** One that lends what it reads, and what the stream has read so far. */
function betterSocket(stream: Duplex): {made: StreamSocket; rest: Buffer | null} | undefined {
  if (isSource(stream)) {
    const rest: Buffer | null = stream.read();
    return {made: stream.becomeSocket(), rest};
  }
  if (lenderOf(stream) !== undefined) return {made: new DuplexSocket(stream), rest: null};
  if (!(stream instanceof Socket) || stream instanceof TLSSocket || stream.destroyed)
    return undefined;
  // To read makes Node read on: so before, not after.
  const rest: Buffer | null = stream.read();
  const made = adoptSocket(stream);
  if (made === undefined) {
    if (rest !== null) stream.unshift(rest);
    return undefined;
  }
  stream.once('close', () => made.destroy());
  return {made, rest};
}

function joined(head: Uint8Array, rest: Buffer | null): Uint8Array {
  return rest === null ? head : Buffer.concat([head, rest]);
}

function isSource(stream: Duplex): stream is Duplex & SocketSource {
  return 'becomeSocket' in stream;
}
