/** What processes use, by /proc. */

import {readdirSync, readFileSync} from 'node:fs';
import {cpus} from 'node:os';
import {setTimeout as delay} from 'node:timers/promises';

/** Linux getconf CLK_TCK, which is 100 on all architectures we know. */
const ticksPerSecond = 100;
const pageBytes = 4096;

/** The fields of /proc/PID/stat from the third on, behind the name, which may have any characters. */
function stat(pid: number): string[] {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch {
    return []; // it has ended
  }
}

/** CPU time of the processes so far, user and system, seconds. */
export function cpuSeconds(pids: readonly number[]): number {
  let ticks = 0;
  for (const pid of pids) {
    const fields = stat(pid);
    ticks += Number(fields[11] ?? 0) + Number(fields[12] ?? 0); // proc(5): utime (14), stime (15)
  }
  return ticks / ticksPerSecond;
}

/** Resident memory of a process, bytes. */
export function residentBytes(pid: number): number {
  return Number(stat(pid)[21] ?? 0) * pageBytes; // proc(5): rss (24)
}

/** A process' descendants whose command line has this text. */
export function descendants(ancestor: number, text: string): number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    if (pid > 0) parents.set(pid, Number(stat(pid)[1] ?? 0));
  }
  const isBelow = (pid: number): boolean => {
    const parent = parents.get(pid);
    return parent === ancestor || (parent !== undefined && parent > 1 && isBelow(parent));
  };
  const commandLine = (pid: number): string => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'latin1');
    } catch {
      return '';
    }
  };
  return [...parents.keys()].filter((pid) => isBelow(pid) && commandLine(pid).includes(text));
}

/** Idle and all time of all processors so far, ms. */
function processorTimes(): {idle: number; all: number} {
  const times = cpus().map((each) => each.times);
  const sum = (values: readonly number[]): number => values.reduce((one, other) => one + other, 0);
  return {
    idle: sum(times.map(({idle}) => idle)),
    all: sum(times.flatMap((each) => Object.values(each))),
  };
}

/** The share of the processors that is in use, watched for a while. */
export async function busyShare(watchMs = 500): Promise<number> {
  const before = processorTimes();
  await delay(watchMs);
  const after = processorTimes();
  return 1 - (after.idle - before.idle) / Math.max(after.all - before.all, 1);
}
