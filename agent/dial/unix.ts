/**
 * A unix stream: one connection to a unix socket of the target.
 *
 * Theory of operation. A path is resolved below the target's root, component by component, to the socket
 * itself, and connected through that descriptor (`/proc/self/fd/N`): there is no moment at which it could
 * lead elsewhere. An abstract name belongs to the network namespace, which is the target's. Node connects
 * stream sockets; records are relayed by the launcher (`launcher records dial`, records.c), whose first
 * byte tells how the connect went, and whose stream of framed records is what the tunnel carries.
 *
 * A server whose queue of connections is full makes a connect wait. Node's, which never wait, fail with EAGAIN,
 * and are tried again until the layer gives up.
 *
 * Once it is connected, stream and socket are tied (`tie.ts`).
 */

import {type ChildProcess, spawn} from 'node:child_process';
import type {FileHandle} from 'node:fs/promises';
import {connect, type Socket} from 'node:net';
import {machine} from 'node:os';
import {setTimeout as delay} from 'node:timers/promises';
import {fileURLToPath} from 'node:url';
import {getSystemErrorName} from 'node:util';
import {socketOf} from '../../sockets/of-stream.ts';
import {parseUnix, type UnixSocket} from '../../tunnel/messages.ts';
import type {MuxStream} from '../../tunnel/types.ts';
import type {Capacity} from '../capacity.ts';
import {errnoOf} from '../errno.ts';
import {isMeetingPoint} from '../intercept/peers/protocol.ts';
import {openRootEntry} from '../target/root-files.ts';
import {tie} from './tie.ts';

const LAUNCHER = fileURLToPath(new URL(`../../build/linux-${machine()}/launcher`, import.meta.url));
/** Connections with records at a time, of all clients: each has a process. */
const MAX_RECORD_CONNECTIONS = 256;

let recordConnections = 0;

export interface UnixDialOptions {
  /** Of the target's file system: `/proc/PID/root`. */
  readonly root: string;
  /** Where what waits is counted. */
  readonly capacity?: Capacity | undefined;
  /** Called once, when nothing is left. */
  readonly onClosed: () => void;
}

/** Connects to the socket in `body` and ties the stream to it. Throws ProtocolError BODY_MALFORMED. */
export function dialUnix(stream: MuxStream, body: Uint8Array, options: UnixDialOptions): void {
  const target = parseUnix(body);
  const gone = new AbortController();
  const leave = (): void => gone.abort();
  stream.handler = {onReset: leave, onClose: leave};
  // What comes before there is somebody to take it is bounded by the credit for early bytes.
  const early: Uint8Array[] = [];
  let hasEnded = false;
  stream.handler.onData = (chunk) => void early.push(chunk);
  stream.handler.onEnd = () => {
    hasEnded = true;
  };
  void dial(target, options.root, gone.signal).then(
    ({socket, onGone}) => {
      onGone(options.onClosed);
      if (gone.signal.aborted) {
        socket.destroy();
        return;
      }
      tieSocket(stream, socket, options.capacity);
      for (const chunk of early) stream.handler?.onLentData?.(chunk);
      if (hasEnded) stream.handler?.onEnd?.();
    },
    (error: unknown) => {
      if (!gone.signal.aborted) stream.refuse(errnoOf(error));
      options.onClosed();
    },
  );
}

interface Dialled {
  readonly socket: Socket;
  /** Calls back once, when the connection is gone. */
  readonly onGone: (call: () => void) => void;
}

async function dial({type, name}: UnixSocket, root: string, gone: AbortSignal): Promise<Dialled> {
  // Agents trust each other by their users: a program must not speak as one of them.
  if (isMeetingPoint(name)) throw failure('ECONNREFUSED');
  if (name.startsWith('\0')) {
    return type === 'stream' ? await dialStream(name, gone) : await dialRecords(name, gone);
  }
  const {handle} = await openRootEntry(root, name);
  try {
    if (type === 'stream') return await dialStream(`/proc/self/fd/${handle.fd}`, gone);
    return await dialRecords(name, gone, handle);
  } finally {
    await handle.close();
  }
}

/** Waits between attempts to connect to a server that is behind, ms. */
const FIRST_PAUSE_MS = 5;
const LONGEST_PAUSE_MS = 100;

async function dialStream(path: string, gone: AbortSignal): Promise<Dialled> {
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS)) {
    try {
      return await connectStream(path);
    } catch (error) {
      if (errnoOf(error) !== 'EAGAIN' || gone.aborted) throw error;
    }
    await delay(pauseMs);
  }
}

function connectStream(path: string): Promise<Dialled> {
  const socket = connect({path, allowHalfOpen: true});
  return new Promise((resolve, reject) => {
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject);
      resolve({socket, onGone: (call) => socket.once('close', call)});
    });
  });
}

/** The descriptors of `launcher records`: its stream, and what is to be connected. */
const STREAM_FD = 3;
const SOCKET_FD = 4;

async function dialRecords(name: string, gone: AbortSignal, handle?: FileHandle): Promise<Dialled> {
  if (recordConnections >= MAX_RECORD_CONNECTIONS) throw failure('EMFILE');
  // An argument can't have the zero bytes that some names are padded with.
  const abstract = `@${name.slice(1).replace(/\0+$/, '')}`;
  const address = handle === undefined ? abstract : `/proc/self/fd/${SOCKET_FD}`;
  const child = spawn(LAUNCHER, ['records', 'dial', address, String(Buffer.byteLength(name))], {
    env: {},
    stdio: ['ignore', 'ignore', 'ignore', 'pipe', handle?.fd ?? 'ignore'],
  });
  recordConnections++;
  const ended = new Promise<void>((resolve) => {
    child.once('error', () => resolve());
    child.once('exit', () => resolve());
  });
  void ended.then(() => recordConnections--);
  const socket = child.stdio[STREAM_FD] as Socket;
  socket.allowHalfOpen = true;
  // It may wait in the kernel for the server to accept.
  const giveUp = (): unknown => child.kill('SIGKILL');
  gone.addEventListener('abort', giveUp);
  await connected(child, socket).finally(() => gone.removeEventListener('abort', giveUp));
  return {socket, onGone: (call) => void ended.then(call)};
}

/** Waits for the byte that tells how the connect went; rejects with its errno. */
function connected(child: ChildProcess, socket: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    socket.once('error', reject);
    const look = (): void => {
      const answer: Buffer | null = socket.read(1);
      if (answer === null) {
        if (socket.readableEnded || socket.destroyed) reject(failure('EIO'));
        return;
      }
      socket.off('readable', look).off('end', look).off('error', reject);
      const code = answer[0] ?? 0;
      if (code === 0) resolve();
      else reject(failure(getSystemErrorName(-code)));
    };
    socket.on('readable', look).on('end', look);
  });
}

function failure(code: string): Error {
  return Object.assign(new Error(code), {code});
}

/** Accepts the stream, and ties it to a connected socket of Node's. */
function tieSocket(stream: MuxStream, made: Socket, capacity: Capacity | undefined): void {
  made.on('error', () => undefined); // told as the stream's end
  const {socket, head} = socketOf(made, new Uint8Array(0), true);
  const begin = tie(stream, socket, {
    capacity,
    onConnect: () => stream.accept(new Uint8Array(0)),
    onClosed: () => made.destroy(),
  });
  begin();
  if (head.length > 0) socket.handler?.onData(head);
}
