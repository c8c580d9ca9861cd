/** Connections to elsewhere, by the addon or, where there is none, by Node. */

import {connect, Socket} from 'node:net';
import {formatAddress, parseAddress} from './address.ts';
import {DuplexSocket} from './duplex-socket.ts';
import {socketAddon} from './native.ts';
import {connectNative, NativeSocket} from './native-socket.ts';
import type {SocketEndpoint, StreamSocket} from './types.ts';

/** A connection on its way or made: `onConnect` tells, or `onClose` with why not. */
export interface OutgoingSocket extends StreamSocket {
  /** Its own address, once it is connected. */
  localEndpoint(): SocketEndpoint;
}

/** Starts a TCP connection, without Nagle's delay. Throws what connect(2) fails with at once. */
export function connectSocket(to: SocketEndpoint, keepAliveMs: number): OutgoingSocket {
  return connectNative(to, keepAliveMs) ?? connectNode(to, keepAliveMs);
}

function connectNode(to: SocketEndpoint, keepAliveMs: number): OutgoingSocket {
  const socket = connect({
    host: formatAddress(to.address),
    port: to.port,
    allowHalfOpen: true,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: keepAliveMs,
  });
  const made = new DuplexSocket(socket);
  socket.once('connect', () => made.handler?.onConnect?.());
  return Object.assign(made, {
    localEndpoint: () => ({
      address: parseAddress(socket.localAddress ?? '') ?? new Uint8Array(4),
      port: socket.localPort ?? 0,
    }),
  });
}

/** A socket by its descriptor, connected or on its way, which is its own from now on. */
export function socketOfDescriptor(fd: number): StreamSocket {
  const addon = socketAddon();
  if (addon !== undefined) return NativeSocket.of(addon, fd);
  const socket = new Socket({fd, allowHalfOpen: true});
  socket.setNoDelay(true);
  return new DuplexSocket(socket);
}
