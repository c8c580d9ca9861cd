/**
 * Opens and reads files of the target inside its own root, `/proc/PID/root`, and never outside.
 *
 * Theory of operation. Every path component is opened by itself, relative to the directory opened
 * before (`/proc/self/fd/N/name` stands for openat), and without following a link. Links are
 * resolved here: a relative one from where it stands, an absolute one from the root, `..` by going
 * back to the directory that was opened before. So there is no moment at which the kernel resolves
 * a path that the target could have changed to lead out of its root.
 */

import {constants} from 'node:fs';
import {type FileHandle, open, readlink} from 'node:fs/promises';

/** "Linux include/uapi/asm-generic/fcntl.h: O_PATH", which Node does not name. */
const O_PATH = 0o10000000;
const LINK_FLAGS = O_PATH | constants.O_NOFOLLOW;
/** "Linux MAXSYMLINKS". */
const MAX_LINKS = 40;
const MAX_DEPTH = 64;
const MAX_FILE_BYTES = 1_048_576;

/**
 * Returns the content of the regular file `path` below `root`; undefined when there is none, it
 * cannot be read, is larger than 1 MiB or has too many links on its way.
 */
export async function readRootFile(root: string, path: string): Promise<Uint8Array | undefined> {
  // The directories on the way, each below the one before; the first is the root itself.
  const way: FileHandle[] = [];
  try {
    const file = await walk(way, root, path);
    return file === undefined ? undefined : await readRegular(file);
  } catch {
    // Absent, forbidden, or changed under our hands: to the caller all the same.
    return undefined;
  } finally {
    for (const directory of way) await directory.close();
  }
}

/** A file of the target, opened for its name only (O_PATH). */
export interface RootEntry {
  /** The caller's to close. */
  readonly handle: FileHandle;
  /** Its path below the root, without links. */
  readonly path: string;
}

/** Opens `path` below `root`, whatever is there. Rejects with the errno of what kept it: ENOENT, ELOOP, … */
export async function openRootEntry(root: string, path: string): Promise<RootEntry> {
  const way: FileHandle[] = [];
  const names: string[] = [];
  try {
    const entry = await walk(way, root, path, names);
    if (entry === undefined) throw Object.assign(new Error('no such file'), {code: 'ENOENT'});
    way.pop();
    return {handle: entry, path: `/${names.join('/')}`};
  } finally {
    for (const directory of way) await directory.close();
  }
}

/** Returns the opened last component, which `way` owns; `names` are those of all but the root. */
async function walk(
  way: FileHandle[],
  root: string,
  path: string,
  names: string[] = [],
): Promise<FileHandle | undefined> {
  way.push(await open(root, O_PATH | constants.O_DIRECTORY));
  const todo = split(path);
  let links = 0;
  for (let name = todo.shift(); name !== undefined; name = todo.shift()) {
    if (name === '..') {
      if (way.length > 1) await way.pop()?.close();
      names.pop();
      continue;
    }
    const directory = way.at(-1);
    if (directory === undefined || way.length > MAX_DEPTH) return undefined;
    const entryPath = `/proc/self/fd/${directory.fd}/${name}`;
    const entry = await open(entryPath, LINK_FLAGS);
    way.push(entry);
    names.push(name);
    const stat = await entry.stat();
    if (stat.isSymbolicLink()) {
      way.pop();
      names.pop();
      await entry.close();
      if (++links > MAX_LINKS) return undefined;
      const target = await readlink(entryPath);
      if (target.startsWith('/')) {
        await backToRoot(way);
        names.length = 0;
      }
      todo.unshift(...split(target));
    } else if (todo.length > 0 && !stat.isDirectory()) {
      return undefined;
    }
  }
  return way.at(-1);
}

async function backToRoot(way: FileHandle[]): Promise<void> {
  while (way.length > 1) await way.pop()?.close();
}

function split(path: string): string[] {
  return path.split('/').filter((name) => name !== '' && name !== '.');
}

/** An O_PATH handle cannot be read, but opened again by itself. */
async function readRegular(handle: FileHandle): Promise<Uint8Array | undefined> {
  const stat = await handle.stat();
  if (!stat.isFile()) return undefined;
  const file = await open(`/proc/self/fd/${handle.fd}`, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const content = new Uint8Array(MAX_FILE_BYTES + 1);
    let length = 0;
    for (;;) {
      const {bytesRead} = await file.read(content, length, content.length - length);
      if (bytesRead === 0) return content.slice(0, length);
      length += bytesRead;
      if (length > MAX_FILE_BYTES) return undefined;
    }
  } finally {
    await file.close();
  }
}
