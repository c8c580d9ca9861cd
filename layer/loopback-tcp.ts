/**
 * Connections of the program to the pod's loopback: accepted by the transparent listeners that the
 * rules of `localhost.ts` hand them to, connected by the agent to the same address in the pod.
 *
 * The kernel has answered the SYN before the agent is asked: it may, since the port is open there by the
 * agent's own report. Should the pod's server have gone meanwhile, the connection is reset.
 */

import {createServer, type Server, type Socket} from 'node:net';
import {emitEndpoint} from '../tunnel/messages.ts';
import type {MuxStream, StreamHandler, StreamKind} from '../tunnel/types.ts';
import {addressBytes} from './address.ts';

export type OpenStream = (kind: StreamKind, body: Uint8Array, handler: StreamHandler) => MuxStream;

/** Joins an accepted connection and a new stream: bytes, ends and resets, both ways, by credit. */
function relay(socket: Socket, open: OpenStream): void {
  let consumed = 0;
  const abort = (): void => {
    socket.resetAndDestroy();
  };
  const destination = {
    address: addressBytes(socket.localAddress ?? ''),
    port: socket.localPort ?? 0,
  };
  const stream = open('tcp', emitEndpoint(destination), {
    onOpened: () => forward(),
    onWritable: () => forward(),
    onRefused: abort,
    onReset: abort,
    onStop: abort,
    onEnd: () => socket.end(),
    onData(chunk) {
      socket.write(chunk, () => {
        consumed += chunk.length;
        stream.consumed(consumed);
      });
    },
  });
  /** Reads no more from the program than the tunnel takes. */
  const forward = (): void => {
    while (stream.writable > 0) {
      const chunk: Buffer | null =
        socket.read(Math.min(stream.writable, socket.readableLength)) ?? null;
      if (chunk === null || chunk.length === 0) return;
      stream.write(chunk);
    }
  };
  socket.setNoDelay(true);
  socket.on('readable', forward);
  socket.on('end', () => stream.end());
  socket.on('error', () => stream.reset('ECONNRESET')); // 'close' follows, and finds it ended
}

/** Serves listening sockets of the sandbox, which it owns. */
export function serveLoopbackTcp(listeners: readonly number[], open: OpenStream): Disposable {
  const sockets = new Set<Socket>();
  const servers = listeners.map((fd): Server => {
    const server = createServer({allowHalfOpen: true, pauseOnConnect: false}, (socket) => {
      const address = server.address();
      const own = typeof address === 'object' ? address?.port : undefined;
      // Not handed over, but aimed at the listener itself: nothing is there as far as the program knows.
      if (socket.localPort === own) return socket.resetAndDestroy();
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
      return relay(socket, open);
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
