/**
 * The files of the target for one client: a process of its own, whose socket is joined to the stream.
 *
 * `launcher files` (layer/native/files.c) does all of the work, and holds what the client has open; it ends with
 * the stream. So nothing that a client asks can hurt another one, and a file system that hangs stops only those
 * who look at it. What is under way is bounded by the stream's credit, one way, and by the socket's buffer, the
 * other: the process doesn't take a request before its last answer is taken.
 */

import {spawn} from 'node:child_process';
import type {Socket} from 'node:net';
import {machine} from 'node:os';
import {fileURLToPath} from 'node:url';
import {compileSooner} from '../../sockets/compile-sooner.ts';
import {socketOf} from '../../sockets/of-stream.ts';
import type {MuxStream} from '../../tunnel/types.ts';

const LAUNCHER = fileURLToPath(new URL(`../../build/linux-${machine()}/launcher`, import.meta.url));
/** The descriptor of the process' socket. */
const FILES_FD = 3;
/** Clients of one agent whose files are served at a time. */
const MAX_WORKERS = 64;

let workers = 0;

/** Accepts the stream and serves it. Calls `onClosed` once, when nothing is left of either. */
export function serveFiles(
  stream: MuxStream,
  {targetPid, onClosed}: {readonly targetPid: number; readonly onClosed: () => void},
): void {
  if (workers >= MAX_WORKERS) {
    stream.refuse('EMFILE');
    onClosed();
    return;
  }
  workers++;
  compileSooner();
  const child = spawn(LAUNCHER, ['files', 'pid', `${targetPid}`], {
    cwd: '/',
    env: {},
    stdio: ['ignore', 'ignore', 'inherit', 'pipe'],
  });
  const {socket} = socketOf(child.stdio[FILES_FD] as Socket, new Uint8Array(0), true);
  let received = 0;
  let isOver = false;
  const end = (): void => {
    if (isOver) return;
    isOver = true;
    workers--;
    socket.destroy();
    child.kill('SIGKILL');
    onClosed();
  };
  const fail = (): void => {
    if (!isOver) stream.reset('EIO');
    end();
  };
  /** Reads no more from the process than the stream takes. */
  const read = (): void => {
    socket.readBytes = stream.writable;
  };
  socket.handler = {
    onReadable: () => stream.writable,
    onData(bytes) {
      if (isOver) return;
      stream.write(bytes);
      stream.hurry(); // a program waits for it
      read();
    },
    onEnd: fail,
    onFlushed() {
      if (!isOver) stream.consumed(received - socket.bufferedBytes);
    },
    onClose: fail,
  };
  stream.handler = {
    onLentData(chunk) {
      received += chunk.length;
      socket.writeLent(chunk);
    },
    onWritable: read,
    onEnd() {
      stream.end();
      end();
    },
    onStop: fail,
    onReset: end,
    onClose: end,
  };
  child.once('error', fail);
  stream.accept(new Uint8Array(0));
  read();
}
