/** Listening sockets on the addon (layer/native/listener.c): connections come as sockets, with all that is known of them. */

import {unpackEndpoint} from './address.ts';
import {errnoError, forgetHandle, type Handle, openHandle, socketAddon} from './native.ts';
import {NativeSocket} from './native-socket.ts';
import type {SocketEndpoint} from './types.ts';

/** A connection that was accepted. Whoever wants what it says at once sets its handler and `readBytes` when he is told of it. */
export interface Accepted {
  readonly socket: NativeSocket;
  readonly peer: SocketEndpoint;
  /**
   * Where it went before it was redirected, our own address if it was not; undefined where the kernel does not know: its
   * connection tracking has forgotten it.
   */
  readonly destination: SocketEndpoint | undefined;
}

export interface ListeningEvents {
  onAccepted(accepted: Accepted): void;
  /** One was let go, since there is no descriptor left for it. */
  onFailed(error: NodeJS.ErrnoException): void;
}

export interface ListeningSocket {
  readonly port: number;
  readonly descriptor: number;
  close(): void;
}

/**
 * Listens at a free port of all addresses. A connection that is idle for `keepAliveMs` is asked whether it is still there, and has no
 * Nagle's delay. Throws what listen(2) says, ENOTSUP without the addon.
 */
export function listen(keepAliveMs: number, events: ListeningEvents): ListeningSocket {
  const addon = socketAddon();
  if (addon === undefined) throw errnoError('socket', -95);
  const own = new Uint8Array(18);
  const handle = openHandle(addon.listen(Math.ceil(keepAliveMs / 1000), own), {
    onAccepted(opened: Handle, record: Uint8Array) {
      const socket = new NativeSocket(addon, opened);
      const [toDestination = 0, toPeer = 0] = record;
      const going = record.subarray(2, 2 + toDestination);
      const destination = toDestination === 0 ? undefined : unpackEndpoint(going);
      const peer = unpackEndpoint(record.subarray(20, 20 + toPeer));
      events.onAccepted({socket, peer, destination});
    },
    onFailed: (errno) => events.onFailed(errnoError('accept', errno)),
  });
  let isOpen = true;
  return {
    port: unpackEndpoint(own).port,
    descriptor: addon.listenerDescriptor(handle),
    close() {
      if (!isOpen) return;
      isOpen = false;
      forgetHandle(handle);
      addon.closeListener(handle);
    },
  };
}
