/**
 * Which processes stay on this machine's network: by their names, or because they were told to.
 *
 * A name counts for a process, not for what it starts: `go run .` builds with this machine's network, and
 * what it has built runs in the pod's. Helpers that a tool starts for its own traffic count as the tool.
 * MIRRORD_HOST_NETWORK=1 in the environment that a process was started with counts for it, and, since that is
 * inherited, for all that it starts.
 */

import {readFileSync, readlinkSync} from 'node:fs';
import {basename} from 'node:path';
import type {SandboxProcess} from './sandbox-processes.ts';

/** Those of `skip_build_tools`: mirrord's list. */
export const buildTools: readonly string[] = [
  ...['as', 'cc', 'ld', 'go', 'air', 'asm', 'cc1', 'cgo', 'dlv', 'gcc', 'git', 'link', 'math'],
  ...['cargo', 'hpack', 'rustc', 'compile', 'collect2', 'cargo-watch', 'debugserver'],
  ...['jspawnhelper', 'bazel-real', 'clang'],
];

/** Which processes are to be skipped. */
export interface SkipOptions {
  /** Those of `buildTools`. */
  buildTools: boolean;
  /** More names. */
  names: readonly string[];
}

/** All names of processes that stay on this machine's network. */
export function skippedNames(options: SkipOptions): ReadonlySet<string> {
  const named = options.names.filter((name) => name !== '');
  return new Set([...(options.buildTools ? buildTools : []), ...named]);
}

/** The executable's name of a process's parent; undefined when either has ended. */
function parentName(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The second field may hold anything, spaces and parentheses too (proc_pid_stat(5)).
    const [, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ', 2);
    return basename(readlinkSync(`/proc/${parent}/exe`));
  } catch {
    return undefined;
  }
}

/** Whether a process was started with MIRRORD_HOST_NETWORK. */
function isTold(pid: number): boolean {
  try {
    const environment = readFileSync(`/proc/${pid}/environ`, 'latin1');
    return /(^|\0)MIRRORD_HOST_NETWORK=(1|true)(\0|$)/.test(environment);
  } catch {
    return false; // it has ended
  }
}

/** Returns whether a process has one of these names, works for one that has, or was told to be skipped. */
export function matchTools(
  names: ReadonlySet<string>,
): (process: Pick<SandboxProcess, 'pid' | 'names'>) => boolean {
  const hasGit = names.has('git');
  return (process) => {
    for (const name of process.names) {
      if (names.has(name)) return true;
      if (hasGit && name.startsWith('git-')) return true; // git-remote-https
      if (hasGit && name === 'ssh' && parentName(process.pid) === 'git') return true;
    }
    return isTold(process.pid);
  };
}
