/**
 * Where sockets and state of this user's mirrord are kept while something runs:
 *
 *     $XDG_RUNTIME_DIR/mirrord/, or else mirrord-UID/ in TMPDIR or /tmp
 *
 * In the latter others could have put one before us: owner and mode are checked, and links are not
 * followed.
 */

import {lstatSync, mkdirSync, statSync} from 'node:fs';
import {join} from 'node:path';
import {MirrordError} from './errors.ts';

/** The longest path of a unix socket (sun_path, without its final NUL), bytes. */
export const socketPathLimit = 107;

/** The user that all of this belongs to. */
export const ownUid = (): number => process.geteuid?.() ?? 0;

function isOwnDirectory(path: string): boolean {
  try {
    const status = statSync(path);
    return status.isDirectory() && status.uid === ownUid();
  } catch {
    return false;
  }
}

/** The path of the directory, which may not be there yet. */
export function runtimeDirectory(): string {
  const runtime = process.env['XDG_RUNTIME_DIR'] ?? '';
  // After su(1) it may still be the other user's.
  if (runtime.startsWith('/') && isOwnDirectory(runtime)) return join(runtime, 'mirrord');
  return join(process.env['TMPDIR'] || '/tmp', `mirrord-${ownUid()}`);
}

/** Makes a directory that only we can enter, or checks that it is one; throws `code` if it isn't. */
export function makePrivate(path: string, code: string): void {
  mkdirSync(path, {recursive: true, mode: 0o700});
  const status = lstatSync(path);
  if (!status.isDirectory() || status.uid !== ownUid() || (status.mode & 0o077) !== 0) {
    throw new MirrordError(code, `${path} isn't a private directory of ours`, {
      hint: `remove it, or set XDG_RUNTIME_DIR to a directory of your own`,
    });
  }
}
