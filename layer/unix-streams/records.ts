/**
 * Connections to a SOCK_SEQPACKET socket of the sandbox, which Node has no class for: accepted by the
 * addon, relayed by a launcher each (`launcher records`, records.c) to a stream of framed records.
 */

import {spawn} from 'node:child_process';
import type {Socket} from 'node:net';
import {acceptConnections, closeFd, launcherPath} from '../native/native.ts';

/** The descriptor of the launcher's stream; the next one is the connection. */
const streamFd = 3;

/** The status by which the relay says that a record is longer than it takes, or than the kernel takes from it. */
const tooLongStatus = 3;

export interface RecordsHandler {
  /** Whether there is room for one more; if not, it is closed at once. */
  mayAccept(): boolean;
  /** Gets the stream of records of a connection. */
  onConnection(socket: Socket): void;
  /** A connection ended since a record was too long: 1 MiB, or net.core.wmem_max. */
  onTooLong(): void;
}

/** Starts the relay of a connection, whose descriptor it owns. */
function relayRecords(fd: number, onTooLong: () => void): Socket {
  try {
    const child = spawn(launcherPath(), ['records', 'connected'], {
      env: {},
      // Out of reach of the terminal's Ctrl-C; it ends with either of its ends.
      detached: true,
      stdio: ['ignore', 'ignore', 'ignore', 'pipe', fd],
    });
    const socket = child.stdio[streamFd] as Socket;
    child.on('error', () => socket.destroy());
    child.on('exit', (status) => {
      if (status === tooLongStatus) onTooLong();
    });
    socket.allowHalfOpen = true;
    return socket;
  } finally {
    closeFd(fd);
  }
}

/** Accepts at a listening socket, which it owns. */
export function acceptRecords(fd: number, handler: RecordsHandler): Disposable {
  return acceptConnections(fd, (connection) => {
    if (!handler.mayAccept()) closeFd(connection);
    else handler.onConnection(relayRecords(connection, () => handler.onTooLong()));
  });
}
