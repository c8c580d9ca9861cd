/**
 * Notices which TCP ports the programs of a sandbox listen on.
 *
 * Asked by sock_diag this takes some 0.1 ms; where the kernel hasn't that, /proc/net/tcp does as well, slower.
 * Both are of the namespace whatever process asks: the netlink socket was made inside, and the table is
 * the launcher's, which is inside for as long as there is a sandbox.
 */

import type {Log} from '../log.ts';
import {closeFd} from '../native/native.ts';
import type {Launcher} from '../sandbox/launcher.ts';
import type {Listener} from './listener.ts';
import {pollAgain} from './poll.ts';
import {readListeners} from './read.ts';

/** Opens a netlink socket in the launcher's network namespace; undefined where the kernel has no sock_diag. */
export function openDiagnostics(launcher: Launcher, log: Log): number | undefined {
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
  const polling = pollAgain(async () => {
    const listeners = await readListeners({fd, pid: launcher.process.pid ?? 0});
    const text = JSON.stringify(listeners);
    if (text !== last && !isStopped) await onListeners(listeners);
    last = text;
  });
  return {
    [Symbol.dispose]() {
      if (isStopped) return;
      isStopped = true;
      polling[Symbol.dispose]();
      if (fd !== undefined) closeFd(fd);
    },
  };
}
