/**
 * What the program has started, when the launcher is killed that would end it.
 *
 * Only the program itself dies with the launcher (PR_SET_PDEATHSIG isn't inherited). So mirrord is a
 * subreaper too, the next one above the launcher (PR_SET_CHILD_SUBREAPER): what loses its parent then
 * becomes a child of mirrord's, and so do, one after another, the children of what is killed. All that is
 * not one of the children that mirrord had before is ended, until there is none. If mirrord and the
 * launcher are killed both, what has left the program's process group goes on: nobody is there to know.
 */

import {readdirSync, readFileSync} from 'node:fs';
import {setTimeout as delay} from 'node:timers/promises';
import {becomeSubreaper} from '../native/native.ts';

const stepMs = 10;
/** One stuck in the kernel can't be waited for. */
const limitMs = 3_000;

function readProc(path: string): string {
  try {
    return readFileSync(`/proc/${path}`, 'latin1');
  } catch {
    return ''; // it has ended
  }
}

/** State and parent of a process, from behind its name, which may hold anything (proc(5)). */
function parseStat(text: string): {state: string; parent: number} {
  const [state = 'X', parent = '0'] = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return {state, parent: Number(parent)};
}

/** Our children. All of them are the main thread's: it forks, and orphans are given to it. */
function children(): number[] {
  try {
    const text = readFileSync(`/proc/self/task/${process.pid}/children`, 'latin1');
    return text.split(' ').filter(Boolean).map(Number);
  } catch {
    // A kernel without CONFIG_PROC_CHILDREN.
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .filter((name) => parseStat(readProc(`${name}/stat`)).parent === process.pid)
      .map(Number);
  }
}

function isAlive(pid: number): boolean {
  return !/[ZX]/.test(parseStat(readProc(`${pid}/stat`)).state);
}

/** Takes orphans in from now on. The result ends all that have come, and resolves when they are gone. */
export function adoptOrphans(): () => Promise<void> {
  becomeSubreaper();
  const own = new Set(children());
  return async () => {
    for (let waitedMs = 0; waitedMs < limitMs; waitedMs += stepMs) {
      const orphans = children().filter((pid) => !own.has(pid) && isAlive(pid));
      if (orphans.length === 0) return;
      for (const pid of orphans) {
        try {
          process.kill(pid, 'SIGKILL'); // the number is its own until we have waited for it
        } catch {
          // EPERM: it has become another user's
        }
      }
      await delay(stepMs);
    }
  };
}
