/**
 * Connections of the program to the pod's loopback, or this machine's: accepted by the transparent listeners
 * that the rules of `localhost.ts` hand them to, connected to the same address by whom the routing names.
 *
 * The kernel has answered the SYN before the other end is asked: it may, since the port is open there by the
 * agent's own report, or by this kernel's. Should the server have gone meanwhile, the connection is reset.
 */

import {createServer, type Server, type Socket} from 'node:net';
import {resetSocket} from '../sockets/reset.ts';
import {emitEndpoint} from '../tunnel/messages.ts';
import {addressBytes} from './address.ts';
import {relay} from './relay.ts';
import type {Route} from './routing/router.ts';

/** Serves listening sockets of the sandbox, which it owns. */
export function serveLoopbackTcp(listeners: readonly number[], route: Route): Disposable {
  const sockets = new Set<Socket>();
  const servers = listeners.map((fd): Server => {
    const server = createServer({allowHalfOpen: true, pauseOnConnect: false}, (socket) => {
      const address = server.address();
      const own = typeof address === 'object' ? address?.port : undefined;
      // Not handed over, but aimed at the listener itself: nothing is there as far as the program knows.
      if (socket.localPort === own) return resetSocket(socket);
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
      const destination = {
        address: addressBytes(socket.localAddress ?? ''),
        port: socket.localPort ?? 0,
      };
      const source = {
        address: addressBytes(socket.remoteAddress ?? ''),
        port: socket.remotePort ?? 0,
      };
      const open = route('tcp', source, destination);
      return relay(socket, (handler) => open('tcp', emitEndpoint(destination), handler));
    });
    return server.listen({fd});
  });
  return {
    [Symbol.dispose]() {
      for (const server of servers) server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
