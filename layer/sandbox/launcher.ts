/**
 * The launcher's commands, typed: one process that makes namespaces, runs a program in them and guards
 * it (`layer/native/launcher.c` tells how). Used for the sandbox of `exec` and for the demo's pods.
 */

import {type ChildProcess, type StdioOptions, spawn} from 'node:child_process';
import {setTimeout as delay} from 'node:timers/promises';
import {MirrordError} from '../errors.ts';
import {closeFd, exchange, launcherPath, SystemError, socketPair} from '../native/native.ts';

export type Namespace = 'user' | 'net' | 'mnt' | 'uts' | 'ipc';

/**
 * What the program may still do. `container`: what a container runtime leaves to root, and nothing at
 * all for anybody else; `keep`: all that the launcher has in its namespaces (for our own helpers);
 * `untouched`: what mirrord was called with.
 */
export type CapabilitySet = 'container' | 'keep' | 'untouched';

export interface LauncherOptions {
  /** The program and its arguments; found in `env.PATH`. */
  argv: readonly string[];
  env: NodeJS.ProcessEnv;
  cwd?: string;
  /** The program's standard streams; `inherit` by default. */
  stdio?:
    | 'inherit'
    | ['ignore' | 'inherit' | number, 'ignore' | 'inherit' | number, 'ignore' | 'inherit' | number];
  /** A session of its own: no terminal, and no signals. */
  detached?: boolean;
  /** What is open for the program, ascending; its standard streams if left out. */
  descriptors?: readonly number[];
}

/** The longest message (`MESSAGE_MAX` in fd-passing.h), bytes. */
const MESSAGE_MAX = 128 * 1024;

/** What a command meets when the launcher has ended. */
const goneCodes = ['ECONNRESET', 'EPIPE'];

/** Between two looks at something that takes its time, ms. */
const pollMs = 1;

/** execve(2) takes 2 MiB by default, and 128 KiB for one variable. */
function explainSpawnFailure(error: unknown): unknown {
  if ((error as NodeJS.ErrnoException).code !== 'E2BIG') return error;
  return new MirrordError(
    'MIRRORD_ENVIRONMENT_TOO_LARGE',
    'the environment and the arguments together are more than the kernel takes for a program (E2BIG)',
    {hint: 'see which variables of the target or of your own are large', cause: error},
  );
}

export class Launcher implements Disposable {
  /** Ends as the program does: same status, same signal. */
  readonly process: ChildProcess;
  /** PATH of the program, where it is looked up. */
  readonly path: string;
  #control: number;

  constructor(options: LauncherOptions) {
    const [ours, theirs] = socketPair();
    this.path = options.env['PATH'] ?? '';
    const streams = options.stdio ?? 'inherit';
    const stdio: StdioOptions =
      streams === 'inherit' ? ['inherit', 'inherit', 'inherit', theirs] : [...streams, theirs];
    const {descriptors} = options;
    const placing = descriptors === undefined ? [] : ['--descriptors', descriptors.join(',')];
    stdio.push(...(descriptors ?? []).filter((fd) => fd > 2));
    try {
      this.process = spawn(launcherPath(), ['serve', '3', ...placing, '--', ...options.argv], {
        env: options.env,
        stdio,
        ...(options.cwd !== undefined && {cwd: options.cwd}),
        ...(options.detached !== undefined && {detached: options.detached}),
      });
    } catch (error) {
      closeFd(ours);
      throw explainSpawnFailure(error);
    } finally {
      closeFd(theirs);
    }
    this.#control = ours;
  }

  /** Runs one command; returns its value. Throws `SystemError` with the call that failed. */
  command(name: string, ...args: (string | number)[]): string {
    return this.#run(name, args).value;
  }

  /** Runs a command that opens something; the descriptor is the caller's to close. */
  open(name: string, ...args: (string | number)[]): {value: string; fd: number} {
    return this.#run(name, args);
  }

  unshare(...namespaces: Namespace[]): void {
    this.command('unshare', ...namespaces);
  }

  /** Writes a kernel setting of the launcher's namespaces: `net.ipv4.ip_forward`, … */
  sysctl(name: string, value: string | number): void {
    // A dot in an interface's name is written as a slash (sysctl(8)); ours have none.
    this.command('write', `/proc/sys/${name.replaceAll('.', '/')}`, value, '0644');
  }

  /** Runs a helper inside, with all of the launcher's capabilities there, and waits for its end. */
  run(program: string, args: readonly string[], input = ''): void {
    this.command('run', input, program, ...args);
  }

  /**
   * Starts the program. Returns its pid. `foreground`: it has the terminal, and when it stops, so do we.
   * Throws `SystemError` (ENOENT, EACCES, …; syscall `execve`) when it can't be executed.
   */
  exec(capabilities: CapabilitySet, foreground = false): number {
    this.command('capabilities', capabilities);
    return Number(foreground ? this.command('exec', 'foreground') : this.command('exec'));
  }

  /**
   * The same, where the program's file, or its way there, is served by us: waits without keeping us from it.
   * It starts in `directory`.
   */
  async execServed(
    capabilities: CapabilitySet,
    {foreground, directory}: {readonly foreground: boolean; readonly directory: string},
  ): Promise<number> {
    this.command('capabilities', capabilities);
    this.command('start-in', directory);
    const pid = Number(this.command('exec', 'later', ...(foreground ? ['foreground'] : [])));
    try {
      await this.#whilePending('exec-state');
    } catch (error) {
      // It has run and ended, and the launcher with it: one that can't be executed leaves the launcher.
      if (!(error instanceof SystemError) || !goneCodes.includes(error.code)) throw error;
    }
    return pid;
  }

  /**
   * Runs commands, none of which opens anything, in another process of the same namespaces: they may touch what
   * is served by us. Throws `SystemError` with the call and the last argument of the first that failed.
   */
  async batch(commands: readonly (readonly [string, ...string[]])[]): Promise<void> {
    this.command('batch', 'begin');
    for (const [name, ...args] of commands) this.command(name, ...args);
    this.command('batch', 'run');
    await this.#whilePending('batch', 'state');
  }

  /** Asks until the answer is another one than `pending`. */
  async #whilePending(name: string, ...args: string[]): Promise<void> {
    while (this.command(name, ...args) === 'pending') await delay(pollMs);
  }

  /**
   * Says that `path`, which is about to be made, is to be removed when the launcher ends, even if we were
   * killed before. What was named last goes first; a directory goes if it is empty then. 512 paths at most.
   */
  leaveNo(path: string): void {
    this.command('leave-no', path);
  }

  /** Takes `leaveNo` back: we have removed it ourselves, and the name may be somebody else's from now on. */
  leave(path: string): void {
    this.command('leave', path);
  }

  /** From now on the program goes on without us: to dispose of this, or to die, doesn't end it. */
  outlive(): void {
    this.command('outlive');
    this.process.unref();
  }

  /** Ends the program, and all that it started, if it still runs. */
  [Symbol.dispose](): void {
    if (this.#control >= 0) closeFd(this.#control);
    this.#control = -1;
  }

  #run(name: string, args: (string | number)[]): {value: string; fd: number} {
    const message = Buffer.from(`${[name, ...args].join('\0')}\0`);
    if (message.length > MESSAGE_MAX) throw new SystemError(name, 90 /* EMSGSIZE */);
    const {answer, fd} = exchange(this.#control, message);
    const [status, first = '', call = '', detail = ''] = answer.toString().split('\0');
    if (status === 'ok') return {value: first, fd};
    throw new SystemError(call, Number(first), detail.trim());
  }
}
