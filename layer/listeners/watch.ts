/**
 * Notices which TCP ports the programs of a sandbox listen on.
 *
 * Theory of operation. The kernel tells nobody of a new listener, so it is asked again and again: every
 * 40 ms, so that with what follows all is done in 100, but for at most a twentieth of the time. Asked by
 * sock_diag this takes some 0.1 ms; where the kernel hasn't that, /proc/net/tcp does as well, slower.
 * Both are of the namespace whatever process asks: the netlink socket was made inside, and the table is
 * the launcher's, which is inside for as long as there is a sandbox.
 */

import {readFile} from 'node:fs/promises';
import type {Log} from '../log.ts';
import {closeFd, netlinkDump} from '../native/native.ts';
import type {Launcher} from '../sandbox/launcher.ts';
import type {Listener} from './listener.ts';
import {parseTcpTable} from './proc-net.ts';
import {emitListenersRequest, parseListeners} from './sock-diag.ts';

const pollMs = 40;
/** Asking may take one part in so many of the time. */
const costFactor = 20;

const requests = [emitListenersRequest(4), emitListenersRequest(6)];

/** Asks by sock_diag; undefined where that doesn't work. */
function askKernel(fd: number): Listener[] | undefined {
  const found: Listener[] = [];
  try {
    for (const request of requests) {
      const listeners = parseListeners(netlinkDump(fd, request));
      if (listeners === undefined) return undefined;
      found.push(...listeners);
    }
    return found;
  } catch {
    return undefined; // ENOENT: without the module; EMSGSIZE: thousands of listeners
  }
}

async function readTables(pid: number): Promise<Listener[]> {
  const tables = ['tcp', 'tcp6'].map((name) =>
    readFile(`/proc/${pid}/net/${name}`, 'latin1').catch(() => ''),
  );
  return (await Promise.all(tables)).flatMap(parseTcpTable);
}

function openDiagnostics(launcher: Launcher, log: Log): number | undefined {
  try {
    return launcher.open('diag').fd;
  } catch (error) {
    log('listeners: no sock_diag', {error: String(error)});
    return undefined;
  }
}

/**
 * Calls `onListeners` with all listening sockets, first when there is one, then after each change; never
 * again before what it returned is settled. Stops when disposed of.
 */
export function watchListeners(
  launcher: Launcher,
  onListeners: (listeners: readonly Listener[]) => Promise<void>,
  log: Log,
): Disposable {
  const fd = openDiagnostics(launcher, log);
  let isStopped = false;
  let last = '[]';
  let timer: NodeJS.Timeout | undefined;

  const look = async (): Promise<void> => {
    const startedAt = performance.now();
    const listeners =
      (fd === undefined ? undefined : askKernel(fd)) ??
      (await readTables(launcher.process.pid ?? 0));
    const costMs = performance.now() - startedAt;
    const text = JSON.stringify(listeners);
    if (text !== last && !isStopped) await onListeners(listeners);
    last = text;
    if (!isStopped) timer = setTimeout(look, Math.max(pollMs, costMs * costFactor));
  };
  timer = setTimeout(look, pollMs);

  return {
    [Symbol.dispose]() {
      if (isStopped) return;
      isStopped = true;
      clearTimeout(timer);
      if (fd !== undefined) closeFd(fd);
    },
  };
}
