/**
 * The places of this user's sessions: one socket each, in a directory that only the user can enter.
 *
 *     <runtime directory>/sessions/<id>.sock
 *
 * The socket of a session that was killed is removed by its launcher. If that was killed too, it stays and
 * refuses connections: whoever comes next removes it. A new one is made under another name and renamed once
 * it listens, so that it is never taken for that.
 */

import {randomBytes} from 'node:crypto';
import {readdirSync, rmdirSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {MirrordError} from '../errors.ts';
import {makePrivate, runtimeDirectory, socketPathLimit} from '../runtime-directory.ts';

const suffix = '.sock';
const sessionsDirectory = (): string => join(runtimeDirectory(), 'sessions');

/** A new session's id: eight hexadecimal digits. */
export function newSessionId(): string {
  return randomBytes(4).toString('hex');
}

/** The path of a session's socket. */
export function socketPath(id: string): string {
  return join(sessionsDirectory(), `${id}${suffix}`);
}

/**
 * Makes the directory. Returns the path under which a new session's socket is to be made. `leaveNo` is told of
 * all that is to go with it. Throws what that throws, MIRRORD_SESSIONS_UNSAFE, or
 * MIRRORD_SESSIONS_PATH_TOO_LONG.
 */
export function prepareSocket(id: string, leaveNo: (path: string) => void): string {
  const path = join(sessionsDirectory(), `.${id}`);
  if (Buffer.byteLength(socketPath(id)) > socketPathLimit) {
    throw new MirrordError('MIRRORD_SESSIONS_PATH_TOO_LONG', `${path} is too long for a socket`, {
      hint: 'set XDG_RUNTIME_DIR or TMPDIR to a directory with a shorter name',
    });
  }
  const directories = [runtimeDirectory(), sessionsDirectory()];
  for (const directory of directories) makePrivate(directory, 'MIRRORD_SESSIONS_UNSAFE');
  try {
    for (const each of [...directories, path, socketPath(id)]) leaveNo(each);
  } catch (error) {
    removeEmptyDirectories();
    throw error;
  }
  return path;
}

/** The ids of all sessions that have a socket, dead ones too. Throws MIRRORD_SESSIONS_UNSAFE. */
export function sessionIds(): string[] {
  let names: string[];
  try {
    names = readdirSync(sessionsDirectory());
  } catch {
    return []; // there never was one
  }
  // Who else could write there could answer for a session.
  makePrivate(runtimeDirectory(), 'MIRRORD_SESSIONS_UNSAFE');
  makePrivate(sessionsDirectory(), 'MIRRORD_SESSIONS_UNSAFE');
  return names
    .filter((name) => name.endsWith(suffix))
    .map((name) => name.slice(0, -suffix.length))
    .sort();
}

/** Removes the directories if nothing is in them. */
export function removeEmptyDirectories(): void {
  try {
    rmdirSync(sessionsDirectory());
    rmdirSync(dirname(sessionsDirectory()));
  } catch {
    // ENOTEMPTY: another session, or the demo; ENOENT: another was quicker
  }
}
