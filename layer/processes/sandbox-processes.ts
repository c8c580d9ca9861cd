/**
 * The processes of a sandbox, and their names, at any moment.
 *
 * Theory of operation. Whoever looks wants to know of a process that has just been made, and may look for
 * each connection; the machine may have thousands of processes. So /proc is not read as a whole: pids are
 * given out in sequence (pid_namespaces(7), kernel/pid.c), and the kernel tells the last one. What is new
 * since the last look is between the two numbers, mostly nothing. Of the new ones those are kept whose network
 * namespace is the sandbox's: programs of joined sessions too. Threads have pids as well, and are left out.
 *
 * Any process may change its name by execve(2) or prctl(2) without a new pid, so that all that are kept are
 * asked for theirs. Looking may take a tenth of the time: what was seen less than nine times as long ago as
 * it took to see it, and at most `staleMs`, is not looked at again. With 20 processes that is 2 ms.
 *
 * A pid is given out a little before its process can be seen in /proc, and a process may enter the namespace
 * a little later; so pids are tried again for `settleMs`. The sequence wraps at pid_max. When so much time has
 * passed that it may have gone round wholly, all of /proc is looked through.
 */

import {closeSync, openSync, readdirSync, readFileSync, readlinkSync, readSync} from 'node:fs';
import {basename} from 'node:path';

/** How old what is known may be, milliseconds; and what part of the time looking may take. */
const staleMs = 50;
const costFactor = 9;
/** How long a new pid is tried, milliseconds; twice that at most. */
const settleMs = 100;
/** Pids that were given out before the first look, or the last one at all of /proc, and may come yet. */
const settlePids = 32;
/** New pids that are tried one by one, 3 µs each; more are picked from /proc, 0.7 µs each. */
const probeLimit = 512;
/** Processes that a machine makes in a second, at most: some 3,000 for each of its processors. */
const forksPerSecond = 50_000;
/** Processes that are kept; a sandbox of more than that is not one to be seen through. */
const processLimit = 4_096;
/** Bytes of a command line that are read for its first word. */
const commandLimit = 4_096;

/** A process of the sandbox. */
export interface SandboxProcess {
  readonly pid: number;
  /** The name that ps(1) shows: of the executed file, or what the process calls itself; 15 bytes. */
  readonly comm: string;
  /** What it may be called: its executable, the first word of `comm`, its argv[0]; without directories. */
  readonly names: ReadonlySet<string>;
  /** As `classify` said of these names. */
  readonly isMarked: boolean;
}

interface Kept {
  pid: number;
  comm: string;
  exe: string;
  names: ReadonlySet<string>;
  isMarked: boolean;
}

export interface SandboxProcessesOptions {
  /** The only process of the sandbox so far, which stays as long as that does. */
  pid: number;
  /** Judges a process whenever its names have changed. */
  classify?: (process: SandboxProcess) => boolean;
  /** Where the kernel tells which pid it gave out last; for tests of kernels that don't. */
  lastPidPath?: string;
}

/** Runs something that fails when a process has ended, or isn't ours to see. */
function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

const head = Buffer.alloc(commandLimit);

/** The beginning of a file of /proc. */
function readHead(path: string): string {
  const fd = openSync(path, 'r');
  try {
    return head.toString('latin1', 0, readSync(fd, head, 0, head.length, 0));
  } finally {
    closeSync(fd);
  }
}

function namespaceOf(pid: number): string | undefined {
  return attempt(() => readlinkSync(`/proc/${pid}/ns/net`));
}

/** Whether a pid is a process's, and not that of one of its further threads. */
function isProcess(pid: number): boolean {
  const status = attempt(() => readFileSync(`/proc/${pid}/status`, 'utf8'));
  return status?.includes(`\nTgid:\t${pid}\n`) ?? false;
}

function allPids(): number[] {
  return readdirSync('/proc').map(Number).filter(Number.isInteger);
}

/** The pid that was given out last, by the kernel's own word. */
class LastPid implements Disposable {
  readonly #fd: number | undefined;
  readonly #text = Buffer.alloc(64);

  constructor(path: string) {
    this.#fd = attempt(() => openSync(path, 'r'));
  }

  /** undefined where the kernel doesn't tell (it has no CONFIG_CHECKPOINT_RESTORE). */
  read(): number | undefined {
    const fd = this.#fd;
    if (fd === undefined) return undefined;
    const length = readSync(fd, this.#text, 0, this.#text.length, 0);
    return Number(this.#text.toString('latin1', 0, length));
  }

  [Symbol.dispose](): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
  }
}

export class SandboxProcesses implements Disposable {
  /** What looking has cost; `full`: looks at all of /proc, `left`: processes beyond the limit. */
  readonly counters = {looks: 0, full: 0, left: 0, tookMs: 0};
  readonly #namespace: string | undefined;
  readonly #classify: (process: SandboxProcess) => boolean;
  readonly #kept = new Map<number, Kept>();
  readonly #last: LastPid;
  readonly #cycleMs: number;
  /** Where the new pids begin: the last one of some time ago; and which will be that next. */
  #floor: {pid: number; at: number} | undefined;
  #nextFloor: {pid: number; at: number} | undefined;
  #nextAt = Number.NEGATIVE_INFINITY;

  constructor({
    pid,
    classify = () => false,
    lastPidPath = '/proc/sys/kernel/ns_last_pid',
  }: SandboxProcessesOptions) {
    this.#namespace = namespaceOf(pid);
    this.#classify = classify;
    this.#last = new LastPid(lastPidPath);
    this.#begin(this.#last.read(), performance.now());
    this.#keep(pid);
    const pidMax = attempt(() => Number(readFileSync('/proc/sys/kernel/pid_max', 'utf8')));
    this.#cycleMs = ((pidMax ?? 0) / forksPerSecond) * 1_000;
  }

  /** Looks who is there, unless that was done just now. */
  look(): void {
    const now = performance.now();
    if (now < this.#nextAt) return;
    for (const pid of this.#fresh(now)) this.#keep(pid);
    for (const process of this.#kept.values()) this.#rename(process);
    const tookMs = performance.now() - now;
    this.#nextAt = now + tookMs + Math.min(tookMs * costFactor, staleMs);
    this.counters.looks++;
    this.counters.tookMs += tookMs;
  }

  /** Those there at the last look, the youngest last. */
  values(): Iterable<SandboxProcess> {
    return this.#kept.values();
  }

  [Symbol.dispose](): void {
    this.#last[Symbol.dispose]();
  }

  /** All pids up to the last one are done with, but for those that are on their way. */
  #begin(last: number | undefined, now: number): void {
    this.#floor = last === undefined ? undefined : {pid: Math.max(0, last - settlePids), at: now};
    this.#nextFloor = this.#floor;
  }

  /** Pids that were given out since the last look; some of them may be nobody's. */
  #fresh(now: number): Iterable<number> {
    // Read first: who comes while we look is found at the next one.
    const last = this.#last.read();
    const floor = this.#floor;
    if (last === undefined || floor === undefined || now - floor.at > this.#cycleMs) {
      this.counters.full++;
      this.#begin(last, now);
      return allPids();
    }
    if (this.#nextFloor !== undefined && now - this.#nextFloor.at > settleMs) {
      this.#floor = this.#nextFloor;
      this.#nextFloor = {pid: last, at: now};
    }
    if (last < floor.pid) return allPids().filter((pid) => pid > floor.pid || pid <= last);
    if (last - floor.pid > probeLimit)
      return allPids().filter((pid) => pid > floor.pid && pid <= last);
    return Array.from({length: last - floor.pid}, (_, i) => floor.pid + 1 + i);
  }

  #keep(pid: number): void {
    if (this.#namespace === undefined || namespaceOf(pid) !== this.#namespace) {
      this.#kept.delete(pid); // a pid that somebody else has now
      return;
    }
    if (this.#kept.has(pid) || !isProcess(pid)) return;
    if (this.#kept.size >= processLimit) {
      this.counters.left++;
      return;
    }
    this.#kept.set(pid, {pid, comm: '', exe: '', names: new Set(), isMarked: false});
  }

  #rename(process: Kept): void {
    const {pid} = process;
    const exe = attempt(() => readlinkSync(`/proc/${pid}/exe`));
    const comm = attempt(() => readFileSync(`/proc/${pid}/comm`, 'utf8').trimEnd());
    if (exe === undefined || comm === undefined) {
      this.#kept.delete(pid); // it has ended: a zombie has no executable
      return;
    }
    if (exe === process.exe && comm === process.comm) return;
    const [argv0 = ''] = (attempt(() => readHead(`/proc/${pid}/cmdline`)) ?? '').split('\0', 1);
    process.comm = comm;
    // In the middle of execve(2) a process has no arguments yet: it is asked again.
    process.exe = argv0 === '' ? '' : exe;
    process.names = new Set([
      basename(exe.replace(/ \(deleted\)$/, '')),
      firstWord(comm),
      basename(firstWord(argv0)),
    ]);
    process.isMarked = this.#classify(process);
  }
}

/** A process may write a whole title over its name: `npm install`. */
function firstWord(text: string): string {
  return text.split(' ', 1)[0] ?? '';
}
