/**
 * Which unix sockets the target can connect to, and when that changes.
 *
 * The kernel lists the listening ones of the pod's network namespace, under the names that their servers
 * bound, each in a mount namespace of its own: those count which are sockets below the target's root too.
 * A server elsewhere (a daemon of the node, by a host path) is in no such list; whoever knows its path
 * names it, and it is looked for below the root. Its type can't be seen then: `stream`, as nearly all are.
 */

import {readFile} from 'node:fs/promises';
import type {UnixSocket} from '../../tunnel/messages.ts';
import type {UnixParams, UnixSockets} from '../../tunnel/target.ts';
import {isMeetingPoint} from '../intercept/peers/protocol.ts';
import {watchChanges} from './changes.ts';
import {openRootEntry} from './root-files.ts';

/** A pod has a handful; more are counted, not told. */
const MAX_SOCKETS = 1024;
const MAX_NAMED_PATHS = 64;
/** "Linux include/linux/net.h: __SO_ACCEPTCON". */
const SO_ACCEPTCON = 0x10000;
const TYPES: Readonly<Record<string, UnixSocket['type']>> = {'0001': 'stream', '0005': 'seqpacket'};
/** "Linux include/uapi/linux/un.h: UNIX_PATH_MAX". */
const NAME_BYTES = 108;

/**
 * Reads /proc/net/unix: `Num RefCount Protocol Flags Type St Inode Path`. Returns the listening sockets of
 * the types we know that have a name. The kernel writes an abstract name's zero bytes as `@`: the first is
 * one, and those at the end of a name as long as can be are its padding. Relative paths, which mean
 * something to their server only, and names that are no UTF-8 are left out.
 */
export function parseUnixTable(table: string): UnixSocket[] {
  const found = new Map<string, UnixSocket>();
  for (const line of table.split('\n').slice(1)) {
    const match = /^\S+ \S+ \S+ (\S+) (\S+) \S+ +\d+ (.+)$/s.exec(line);
    const [, flags = '0', typeNumber = '', written = ''] = match ?? [];
    const type = TYPES[typeNumber];
    if (type === undefined || (Number.parseInt(flags, 16) & SO_ACCEPTCON) === 0) continue;
    if (!/^[/@]/.test(written) || written.includes('\ufffd')) continue;
    const name = written.startsWith('@') ? abstractName(written) : written;
    // Our own agents', and nobody else's business.
    if (!isMeetingPoint(name)) found.set(name, {type, name});
  }
  return [...found.values()].sort((one, other) => (one.name < other.name ? -1 : 1));
}

function abstractName(written: string): string {
  const isPadded = Buffer.byteLength(written) === NAME_BYTES;
  const name = isPadded ? written.replace(/@+$/, (ats) => '\0'.repeat(ats.length)) : written;
  return `\0${name.slice(1)}`;
}

/** Returns what the target can connect to now. `root`: of its file system. */
export async function readUnixSockets(root: string, {paths}: UnixParams): Promise<UnixSockets> {
  const listening = parseUnixTable(await readTable());
  const types = new Map(listening.map(({name, type}) => [name, type]));
  const found = new Map<string, UnixSocket>();
  for (const socket of listening.slice(0, MAX_SOCKETS)) {
    const isThere = socket.name.startsWith('\0') || (await resolveSocket(root, socket.name));
    if (isThere) found.set(socket.name, socket);
  }
  for (const name of paths) {
    if (found.has(name)) continue;
    const real = await resolveSocket(root, name);
    if (real !== undefined) found.set(name, {type: types.get(real) ?? 'stream', name});
  }
  return {sockets: [...found.values()], omitted: Math.max(0, listening.length - MAX_SOCKETS)};
}

/** The path of a socket below the root, without links; undefined where there is none. */
async function resolveSocket(root: string, path: string): Promise<string | undefined> {
  try {
    const {handle, path: real} = await openRootEntry(root, path);
    try {
      return (await handle.stat()).isSocket() ? real : undefined;
    } finally {
      await handle.close();
    }
  } catch {
    return undefined;
  }
}

/** Reads the parameters of the subscription; what is over the limit, or no path, is left out. */
export function parseUnixParams(params: unknown): UnixParams {
  if (typeof params !== 'object' || params === null || !('paths' in params)) return {paths: []};
  const paths: unknown[] = Array.isArray(params.paths) ? params.paths : [];
  const isPath = (path: unknown): path is string => typeof path === 'string' && path[0] === '/';
  return {paths: paths.filter(isPath).slice(0, MAX_NAMED_PATHS)};
}

/** Calls `onSockets` with the full list, first at once and then after each change; returns the stop. */
export function watchUnixSockets(
  root: string,
  params: UnixParams,
  onSockets: (sockets: UnixSockets) => void,
): () => void {
  return watchChanges(() => readUnixSockets(root, params), onSockets);
}

/** A kernel without unix sockets has no such table. */
async function readTable(): Promise<string> {
  try {
    return await readFile('/proc/self/net/unix', 'utf8');
  } catch {
    return '';
  }
}
