/**
 * Reads what listens in a network namespace: by sock_diag, and where the kernel hasn't that, by /proc/net.
 */

import {readFile} from 'node:fs/promises';
import {netlinkDump} from '../native/native.ts';
import type {Listener} from './listener.ts';
import {parseTable} from './proc-net.ts';
import {emitListenersRequest, parseListeners} from './sock-diag.ts';

/** A namespace: a netlink socket that was made in it, and a process that is in it. */
export interface ListenersSource {
  /** Undefined where the kernel has no sock_diag. */
  readonly fd: number | undefined;
  readonly pid: number | 'self';
}

const requests = {
  tcp: [emitListenersRequest(4, 'tcp'), emitListenersRequest(6, 'tcp')],
  udp: [emitListenersRequest(4, 'udp'), emitListenersRequest(6, 'udp')],
} as const;

/** Asks by sock_diag; undefined where that doesn't work. */
function askKernel(fd: number, protocol: 'tcp' | 'udp'): Listener[] | undefined {
  const found: Listener[] = [];
  try {
    for (const request of requests[protocol]) {
      const listeners = parseListeners(netlinkDump(fd, request));
      if (listeners === undefined) return undefined;
      found.push(...listeners);
    }
    return found;
  } catch {
    return undefined; // ENOENT: without the module; EMSGSIZE: thousands of listeners
  }
}

async function readTables(pid: number | 'self', protocol: 'tcp' | 'udp'): Promise<Listener[]> {
  const tables = [protocol, `${protocol}6`].map((name) =>
    readFile(`/proc/${pid}/net/${name}`, 'latin1').catch(() => ''),
  );
  return (await Promise.all(tables)).flatMap((table) => parseTable(table, protocol));
}

/** Returns the listening TCP sockets, or the UDP sockets that are not connected. */
export async function readListeners(
  {fd, pid}: ListenersSource,
  protocol: 'tcp' | 'udp' = 'tcp',
): Promise<Listener[]> {
  return (
    (fd === undefined ? undefined : askKernel(fd, protocol)) ?? (await readTables(pid, protocol))
  );
}
