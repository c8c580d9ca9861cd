/**
 * A tcp stream: one connection from the pod to wherever the app wants to go.
 *
 * Theory of operation. The stream is accepted when the kernel has connected, or refused with its
 * errno; there is no timeout of ours, since the kernel's is the one the app would have met. From then on
 * the two are tied (`tie.ts`).
 */

import {connectSocket, type OutgoingSocket} from '../../sockets/connect.ts';
import {emitEndpoint, parseEndpoint} from '../../tunnel/messages.ts';
import type {MuxStream} from '../../tunnel/types.ts';
import type {Capacity} from '../capacity.ts';
import {errnoOf} from '../errno.ts';
import {tie} from './tie.ts';

/** Linux net.ipv4.tcp_keepalive_time is two hours; a dead flow should not hold a socket that long. */
const KEEPALIVE_MS = 60_000;

export interface TcpDialOptions {
  /** Where what waits is counted. */
  readonly capacity?: Capacity | undefined;
  /** Called once, when nothing is left. */
  readonly onClosed: () => void;
}

/**
 * Connects to the endpoint in `body` and ties the stream to the connection. Throws ProtocolError
 * BODY_MALFORMED.
 */
export function dialTcp(stream: MuxStream, body: Uint8Array, options: TcpDialOptions): void {
  const destination = parseEndpoint(body);
  const refuse = (errno: string): void => {
    stream.refuse(errno);
    options.onClosed();
  };
  if (destination.port === 0) {
    refuse('ECONNREFUSED'); // the kernel does, too, but Node throws first
    return;
  }
  let socket: OutgoingSocket;
  try {
    socket = connectSocket(destination, KEEPALIVE_MS);
  } catch (error) {
    refuse(errnoOf(error));
    return;
  }
  tie(stream, socket, {
    capacity: options.capacity,
    onConnect: () => stream.accept(emitEndpoint(socket.localEndpoint())),
    onClosed: options.onClosed,
  });
}
