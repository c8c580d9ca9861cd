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
 * Node goes on reading.
 */
export function socketOf(
  stream: Duplex,
  head: Uint8Array,
  mayLend: boolean,
): {socket: StreamSocket; head: Uint8Array} {
  if (mayLend && isSource(stream)) {
    const rest: Buffer | null = stream.read();
    const socket = stream.becomeSocket();
    return {socket, head: rest === null ? head : Buffer.concat([head, rest])};
  }
  const isKernels = mayLend && stream instanceof Socket && !(stream instanceof TLSSocket);
  const adopted = isKernels && !stream.destroyed ? adoptSocket(stream) : undefined;
  if (adopted === undefined && mayLend && lenderOf(stream) !== undefined) {
    const rest: Buffer | null = stream.read();
    const all = rest === null ? head : Buffer.concat([head, rest]);
    return {socket: new DuplexSocket(stream), head: all};
  }
  if (adopted === undefined) {
    if (head.length > 0) stream.unshift(head);
    return {socket: new DuplexSocket(stream), head: new Uint8Array(0)};
  }
  const rest: Buffer | null = stream.read();
  stream.once('close', () => adopted.destroy());
  return {socket: adopted, head: rest === null ? head : Buffer.concat([head, rest])};
}

function isSource(stream: Duplex): stream is Duplex & SocketSource {
  return 'becomeSocket' in stream;
}
