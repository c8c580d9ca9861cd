/**
 * One listening socket of the sandbox under a name of the pod's, made by the launcher (unix-places.c).
 */

import {type BigIntStats, lstatSync, rmdirSync, unlinkSync} from 'node:fs';
import type {UnixSocket} from '../../tunnel/messages.ts';
import {MirrordError} from '../errors.ts';
import {closeFd, SystemError} from '../native/native.ts';
import type {Launcher} from '../sandbox/launcher.ts';

/** A place-holder on this machine, under a socket that is seen in the sandbox only. */
export interface PlaceHolder {
  readonly path: string;
  /** What was made there. An inode's number alone may be given to the next file. */
  readonly made: BigIntStats;
  /** How much of the path was there before: the rest are directories that were made. */
  readonly there: number;
}

/** The name as people write it. */
export function writtenName(name: string): string {
  return name.startsWith('\0') ? `@${name.slice(1).replace(/\0+$/, '')}` : name;
}

/**
 * Makes the socket. Returns its descriptor, which is the caller's. Throws MIRRORD_UNIX_SOCKET_FAILED, which
 * says why it can't be under that name.
 */
export function placeSocket(
  launcher: Launcher,
  {type, name}: UnixSocket,
): {fd: number; placeHolder?: PlaceHolder} {
  const path = writtenName(name);
  try {
    const {fd, value} = launcher.open('unix', type, path, Buffer.byteLength(name));
    const [how, there = ''] = value.split(' ');
    const made = how === 'held' && lstatSync(path, {bigint: true, throwIfNoEntry: false});
    return made ? {fd, placeHolder: {path, made, there: Number(there)}} : {fd};
  } catch (error) {
    throw explain(error, path);
  }
}

/**
 * Makes the socket over the pod's own, which is seen under its path by FUSE. One at a time. Returns its descriptor,
 * which is the caller's. Rejects with MIRRORD_UNIX_SOCKET_FAILED.
 */
export async function coverSocket(launcher: Launcher, {type, name}: UnixSocket): Promise<number> {
  let fd: number | undefined;
  try {
    ({fd} = launcher.open('unix-make', type));
    await launcher.batch([['unix-cover', name]]);
    launcher.command('unix-forget');
    return fd;
  } catch (error) {
    if (fd !== undefined) closeFd(fd);
    throw explain(error, name);
  }
}

function explain(error: unknown, path: string): unknown {
  if (!(error instanceof SystemError)) return error;
  return new MirrordError(
    'MIRRORD_UNIX_SOCKET_FAILED',
    `the pod's socket ${path} can't be shown to the program (${error.syscall}: ${error.code})`,
    {hint: hintFor(error, path), cause: error},
  );
}

function hintFor({code, syscall}: SystemError, path: string): string {
  if (syscall === 'mirror /') return `make the directory once: sudo mkdir /${path.split('/')[1]}`;
  if (code === 'E2BIG')
    return 'the nearest directory that is there has too many entries; make the one below it';
  if (code === 'EADDRINUSE') return 'the program has it itself';
  if (code === 'EISDIR' || code === 'ENOTDIR' || code === 'EEXIST')
    return `something else is there on this machine: ls -ld ${path}`;
  if (code === 'ENOSYS') return 'it takes Linux 5.2';
  return 'MIRRORD_LOG=debug tells more';
}

/** Removes a place-holder, if it still is one, as the launcher does where it wasn't killed. */
export function removePlaceHolder({path, made, there}: PlaceHolder): void {
  try {
    const status = lstatSync(path, {bigint: true});
    const isSame = status.ino === made.ino && status.birthtimeNs === made.birthtimeNs;
    if (!isSame || status.size > 0n) return;
    unlinkSync(path);
    for (let end = path.lastIndexOf('/'); end > there; end = path.lastIndexOf('/', end - 1)) {
      rmdirSync(path.slice(0, end));
    }
  } catch {
    // It is gone, or a directory is somebody's by now.
  }
}
