/** Notices the end of the target process. */

import {readFile} from 'node:fs/promises';

const POLL_MS = 1000;

/**
 * Calls `onGone` once when the process `pid` has ended, and returns what stops the watch. Its start
 * time tells it from a later process with the same number.
 */
export function watchProcess(pid: number, onGone: () => void): () => void {
  let isStopped = false;
  let timer: NodeJS.Timeout | undefined;
  let first: string | undefined;
  const look = async (): Promise<void> => {
    const startTime = await readStartTime(pid);
    if (isStopped) return;
    first ??= startTime;
    if (startTime === undefined || startTime !== first) {
      isStopped = true;
      onGone();
      return;
    }
    timer = setTimeout(look, POLL_MS);
    timer.unref();
  };
  void look();
  return () => {
    isStopped = true;
    clearTimeout(timer);
  };
}

/** Returns field 22 of /proc/PID/stat; undefined for a process that is gone or a zombie. */
export async function readStartTime(pid: number): Promise<string | undefined> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'latin1');
    // The second field is the program's name in parentheses, and may contain any of them.
    const [state, ...fields] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return state === 'Z' || state === 'X' ? undefined : fields[18];
  } catch {
    return undefined;
  }
}
