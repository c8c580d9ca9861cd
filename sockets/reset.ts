/** Ends sockets of Node's by RST. */

import type {Socket} from 'node:net';

/**
 * Ends a TCP connection by RST, and any other at once. One whose FIN is on its way is only closed: libuv refuses to reset it
 * (uv_tcp_close_reset: EINVAL), upon which Node forgets to close it, and the process does not end (Node 24).
 */
export function resetSocket(socket: Socket): void {
  const isTcp = socket.remotePort !== undefined || socket.connecting;
  const isEnding = socket.writableEnded && !socket.writableFinished;
  if (!isTcp || isEnding || 'encrypted' in socket) socket.destroy();
  else socket.resetAndDestroy();
}
