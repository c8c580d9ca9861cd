/**
 * Where the demo keeps its files, and the lock that makes there be one demo per user.
 *
 *   <runtime directory>/demo/
 *     socket       the supervisor's control socket
 *     state.json   which processes it is, to end it if it doesn't answer
 *     root/        an empty directory, on which pods build their roots, each in its own mount namespace
 *     logs/        the supervisor's and the pods' output
 *
 * The lock is an abstract unix socket with the directory in its name: the kernel takes it back from a
 * process that dies, and no file has to stay for it.
 */

import {createHash} from 'node:crypto';
import {once} from 'node:events';
import {readFileSync, rmdirSync, rmSync, writeFileSync} from 'node:fs';
import {createServer} from 'node:net';
import {dirname, join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {MirrordError} from '../../layer/errors.ts';
import {
  makePrivate,
  ownUid,
  runtimeDirectory,
  socketPathLimit,
} from '../../layer/runtime-directory.ts';

export interface DemoPaths {
  directory: string;
  socket: string;
  state: string;
  root: string;
  logs: string;
}

/** A process, told from a later one with the same number. */
export interface ProcessIdentity {
  pid: number;
  /** In clock ticks since boot (/proc/PID/stat, field 22). */
  startTime: string;
}

/** The places of this user's demo, or of the one in `directory`. Throws MIRRORD_DEMO_PATH_TOO_LONG. */
export function demoPaths(directory = join(runtimeDirectory(), 'demo')): DemoPaths {
  const socket = join(directory, 'socket');
  if (Buffer.byteLength(socket) > socketPathLimit) {
    throw new MirrordError('MIRRORD_DEMO_PATH_TOO_LONG', `${socket} is too long for a socket`, {
      hint: 'set XDG_RUNTIME_DIR or TMPDIR to a directory with a shorter name',
    });
  }
  return {
    directory,
    socket,
    state: join(directory, 'state.json'),
    root: join(directory, 'root'),
    logs: join(directory, 'logs'),
  };
}

/** Makes the demo's directories. Throws MIRRORD_DEMO_STATE_UNSAFE. */
export function makeDirectories(paths: DemoPaths): void {
  const own = [dirname(paths.directory), paths.directory, paths.root, paths.logs];
  for (const path of own) makePrivate(path, 'MIRRORD_DEMO_STATE_UNSAFE');
}

/** Removes all files of the demo, and the directory above if nothing else is in it. */
export function removeFiles(paths: DemoPaths): void {
  rmSync(paths.directory, {recursive: true, force: true});
  try {
    rmdirSync(dirname(paths.directory));
  } catch {
    // Not empty, or never made.
  }
}

/** What identifies a running process; undefined when there is none. */
export function identify(pid: number): ProcessIdentity | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field, in parentheses, may hold anything, even a parenthesis.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const [state, startTime] = [fields[0], fields[19]];
    if (state === 'Z' || startTime === undefined) return undefined;
    return {pid, startTime};
  } catch {
    return undefined;
  }
}

/** Whether the process still runs. */
export function isAlive(process: ProcessIdentity): boolean {
  return identify(process.pid)?.startTime === process.startTime;
}

/** Writes down which processes the demo is: the supervisor's launcher first. */
export function writeState(paths: DemoPaths, processes: readonly ProcessIdentity[]): void {
  writeFileSync(paths.state, `${JSON.stringify({processes})}\n`, {mode: 0o600});
}

/** The processes that were written down and still run. */
export function readState(paths: DemoPaths): ProcessIdentity[] {
  try {
    const {processes} = JSON.parse(readFileSync(paths.state, 'utf8')) as {
      processes: ProcessIdentity[];
    };
    return processes.filter(isAlive);
  } catch {
    return []; // no state, or half of one: nobody to find
  }
}

/** Between two attempts to get the lock, milliseconds. */
const lockPauseMs = 50;
/** Longer than any holder needs, milliseconds. */
const lockTimeoutMs = 60_000;

async function tryLock(name: string): Promise<Disposable | undefined> {
  const server = createServer((socket) => socket.destroy());
  server.unref();
  server.listen(`\0${name}`);
  try {
    await once(server, 'listening');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') return undefined;
    throw error;
  }
  return {[Symbol.dispose]: () => void server.close()};
}

/**
 * Keeps other mirrord processes of this user from starting or ending the demo, until the result is
 * disposed of. Throws MIRRORD_DEMO_BUSY when it isn't free within `timeoutMs`.
 */
export async function lockDemo(paths: DemoPaths, timeoutMs = lockTimeoutMs): Promise<Disposable> {
  const deadline = performance.now() + timeoutMs;
  const digest = createHash('sha256').update(paths.directory).digest('hex');
  while (performance.now() < deadline) {
    const lock = await tryLock(`mirrord-demo-${ownUid()}-${digest.slice(0, 16)}`);
    if (lock !== undefined) return lock;
    await delay(lockPauseMs);
  }
  throw new MirrordError('MIRRORD_DEMO_BUSY', 'another mirrord is starting or ending the demo', {
    hint: 'wait for it, or look for it: pgrep -af "mirrord demo"',
  });
}
