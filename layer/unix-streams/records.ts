/**
 * Connections to a SOCK_SEQPACKET socket of the sandbox, which Node has no class for: accepted by the
 * addon, relayed by a launcher each (`launcher records`, records.c) to a stream of framed records.
 */

import {spawn} from 'node:child_process';
import type {Socket} from 'node:net';
import {acceptConnections, closeFd, launcherPath} from '../native/native.ts';

/** The descriptor of the launcher's stream; the next one is the connection. */
const streamFd = 3;

/** Starts the relay of a connection, whose descriptor it owns. */
function relayRecords(fd: number): Socket {
  try {
    const child = spawn(launcherPath(), ['records', 'connected'], {
      env: {},
      // Out of reach of the terminal's Ctrl-C; it ends with either of its ends.
      detached: true,
      stdio: ['ignore', 'ignore', 'ignore', 'pipe', fd],
    });
    const socket = child.stdio[streamFd] as Socket;
    child.on('error', () => socket.destroy());
    socket.allowHalfOpen = true;
    return socket;
  } finally {
    closeFd(fd);
  }
}

/**
 * Accepts at a listening socket, which it owns. `onConnection` gets the stream of records, unless
 * `mayAccept` says no: then the connection is closed at once.
 */
export function acceptRecords(
  fd: number,
  mayAccept: () => boolean,
  onConnection: (socket: Socket) => void,
): Disposable {
  return acceptConnections(fd, (connection) => {
    if (mayAccept()) onConnection(relayRecords(connection));
    else closeFd(connection);
  });
}
