/**
 * Processes of this machine as /proc(5) shows them, for tests that ask what is left of them.
 */

import {readdirSync, readFileSync, readlinkSync} from 'node:fs';

/** A process, told from a later one with the same number. */
export interface ProcessEntry {
  pid: number;
  parent: number;
  /** In clock ticks since boot. */
  startTime: string;
  state: string;
  /** The command line, with spaces between its arguments. */
  command: string;
}

/** Reads a file of a process; empty when the process is gone or another's. */
export function procFile(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'latin1');
  } catch {
    return '';
  }
}

/** Describes a process, or undefined if there is none. */
export function processEntry(pid: number): ProcessEntry | undefined {
  const stat = procFile(pid, 'stat');
  // The second field may hold anything, so count from its last parenthesis.
  const [state = '', parent, ...rest] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  if (stat === '') return undefined;
  const command = procFile(pid, 'cmdline').split('\0').join(' ').trim();
  return {pid, parent: Number(parent), startTime: rest[17] ?? '', state, command};
}

/** Lists all processes. */
export function allProcesses(): ProcessEntry[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => processEntry(Number(name)) ?? []);
}

/** Lists a process and all that descend from it. */
export function processTree(root: number): ProcessEntry[] {
  const all = allProcesses();
  const found = all.filter(({pid}) => pid === root);
  for (const each of found) found.push(...all.filter(({parent}) => parent === each.pid));
  return found;
}

/** Whether this very process still runs; a zombie that nobody has waited for does not. */
export function isRunning({pid, startTime}: ProcessEntry): boolean {
  const now = processEntry(pid);
  return now !== undefined && now.startTime === startTime && now.state !== 'Z';
}

/** Lists the processes that have `text` in their command line or environment. */
export function processesNaming(text: string): ProcessEntry[] {
  return allProcesses().filter(
    ({pid, command, state}) =>
      pid !== process.pid &&
      state !== 'Z' &&
      (command.includes(text) || procFile(pid, 'environ').includes(text)),
  );
}

/** The most memory that a process has had at once, bytes. */
export function peakMemory(pid: number): number {
  return Number(/^VmHWM:\s*(\d+) kB/m.exec(procFile(pid, 'status'))?.[1]) * 1024;
}

/** Names the namespace of a process, as `net:[4026531840]`. */
export function namespaceOf(pid: number, kind: string): string {
  return readlinkSync(`/proc/${pid}/ns/${kind}`);
}

/** Sends a signal to a process that must have been found: 0 would be the tests themselves. */
export function signal(
  found: {readonly pid?: number | undefined} | undefined,
  name: NodeJS.Signals,
): void {
  if (found?.pid === undefined || found.pid <= 0)
    throw new Error(`there is no process to get ${name}`);
  process.kill(found.pid, name);
}

/** Sends a signal to the process group that a child leads. */
export function signalGroup(
  {pid}: {readonly pid?: number | undefined},
  name: NodeJS.Signals,
): void {
  if (pid === undefined) throw new Error(`there is no process group to get ${name}`);
  process.kill(-pid, name);
}
