/**
 * From a flow to the socket it belongs to, and from a socket to the process that holds it.
 */

import {readdirSync, readlinkSync} from 'node:fs';
import type {Endpoint} from '../../netstack/types.ts';
import type {Log} from '../log.ts';
import {closeFd, netlinkDump} from '../native/native.ts';
import type {Launcher} from '../sandbox/launcher.ts';
import {emitSocketQuery, parseSocketAnswer, type Socket, type SocketKind} from './socket-query.ts';

/** Descriptors that are looked at for one socket, 3 µs each. */
const descriptorLimit = 4_096;

/** Finds sockets of a sandbox. */
export interface SocketFinder extends Disposable {
  /** The socket at `local` that talks to `peer`; undefined if there is none, or the kernel can't tell. */
  find(kind: SocketKind, local: Endpoint, peer: Endpoint): Socket | undefined;
}

/** Finds nothing. */
const nothing: SocketFinder = {find: () => undefined, [Symbol.dispose]: () => undefined};

/** Opens the way to ask. Where the kernel has no sock_diag, no socket will be found. */
export function openSocketFinder(launcher: Launcher, log: Log): SocketFinder {
  let fd: number;
  try {
    fd = launcher.open('diag').fd;
  } catch (error) {
    log('processes: no sock_diag', {error: String(error)});
    return nothing;
  }
  return {
    find(kind, local, peer) {
      try {
        return parseSocketAnswer(netlinkDump(fd, emitSocketQuery(kind, local, peer)));
      } catch {
        return undefined; // ENOBUFS, or the module for UDP is missing
      }
    },
    [Symbol.dispose]: () => closeFd(fd),
  };
}

/**
 * Which of some processes holds a socket; undefined if none does, or none of their first `descriptorLimit`
 * descriptors, beginning with the youngest of each.
 */
export function holderOf<P extends {readonly pid: number}>(
  processes: readonly P[],
  {inode}: Socket,
): P | undefined {
  const wanted = `socket:[${inode}]`;
  let left = descriptorLimit;
  for (const process of processes) {
    const directory = `/proc/${process.pid}/fd`;
    const descriptors = descriptorsIn(directory).slice(0, left);
    if (descriptors.some((fd) => linkOf(`${directory}/${fd}`) === wanted)) return process;
    left -= descriptors.length;
  }
  return undefined;
}

function descriptorsIn(directory: string): string[] {
  try {
    return readdirSync(directory).reverse();
  } catch {
    return []; // it has ended, or isn't ours to see
  }
}

function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined; // closed meanwhile
  }
}
