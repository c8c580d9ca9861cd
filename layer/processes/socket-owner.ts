/**
 * From a flow to the socket it belongs to, and from a socket to the process that holds it.
 */

import {readdirSync, readlinkSync} from 'node:fs';
import type {Endpoint} from '../../netstack/types.ts';
import type {Log} from '../log.ts';
import {closeFd, netlinkDump} from '../native/native.ts';
import type {Launcher} from '../sandbox/launcher.ts';
import {emitSocketQuery, parseSocketAnswer, type Socket, type SocketKind} from './socket-query.ts';

/** Descriptors of one process that are looked at for a socket, 3 µs each. */
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

/** Whether a process holds a socket. The youngest descriptors are looked at first. */
export function holdsSocket(pid: number, {inode}: Socket): boolean {
  const wanted = `socket:[${inode}]`;
  try {
    const descriptors = readdirSync(`/proc/${pid}/fd`).reverse().slice(0, descriptorLimit);
    return descriptors.some((fd) => linkOf(`/proc/${pid}/fd/${fd}`) === wanted);
  } catch {
    return false; // it has ended, or isn't ours to see
  }
}

function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined; // closed meanwhile
  }
}
