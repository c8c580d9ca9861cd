/**
 * The world of an end-to-end test: an ordinary user with directories of its own, a demo cluster, and
 * programs compiled for the occasion. As root, the tests run everything as that user (`user.ts`);
 * otherwise as whoever runs them.
 */

import {type ChildProcess, execFileSync, spawn} from 'node:child_process';
import {chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync} from 'node:fs';
import os from 'node:os';
import {basename, join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {fileURLToPath} from 'node:url';
import type {TestFn} from 'ava';
import type {PodStatus} from '../../cli/demo/control.ts';
import {compileCache} from './compile-cache.ts';
import {podOf} from './demo.ts';
import {systemPath} from './needs.ts';
import {processesNaming} from './processes.ts';
import {type OrdinaryUser, ordinaryUser} from './user.ts';

const repository = fileURLToPath(new URL('../..', import.meta.url));
const sources = fileURLToPath(new URL('../e2e/programs/', import.meta.url));

/** A condition that doesn't come true within this time fails the test, milliseconds. */
const deadlineMs = 60_000;
const pauseMs = 20;
/** A program that runs longer than this fails the test, milliseconds. */
const programDeadlineMs = 100_000;

/** What mirrord says of a step that takes more than half a second: no matter of tests on a busy machine. */
const progressLine = /^mirrord: .* …\n/gm;

/** Whether the tests run as root. */
export const isRoot = process.getuid?.() === 0;

export interface Result {
  /** The exit status, or 128 + the number of the signal. */
  status: number;
  stdout: string;
  /** Without the lines that tell of slow steps. */
  stderr: string;
}

export interface RunOptions {
  /** The standard input; what is only started keeps it open by default, what is run to its end has none. */
  input?: string;
  /** More variables. */
  env?: Record<string, string>;
  cwd?: string;
  /** False: it may run for longer than tests wait. */
  hasDeadline?: boolean;
}

export interface ExecOptions extends RunOptions {
  /** `demo/gateway` by default. */
  target?: string;
  /** More flags of `mirrord exec`. */
  flags?: readonly string[];
}

/** A program that was started. */
export interface Running {
  child: ChildProcess;
  pid: number;
  /** What it has written so far. */
  output: {stdout: string; stderr: string};
  ended: Promise<Result>;
  /** Waits until its standard output matches. */
  said(pattern: RegExp): Promise<RegExpExecArray>;
}

/** Waits until `condition` gives something that is neither undefined nor false. */
export async function waitFor<T>(
  what: string,
  condition: () => T | Promise<T>,
): Promise<Exclude<T, undefined | false>> {
  const deadline = performance.now() + deadlineMs;
  for (;;) {
    const value = await condition();
    if (value !== undefined && value !== false) return value as Exclude<T, undefined | false>;
    if (performance.now() > deadline) throw new Error(`in vain waited for: ${what}`);
    await delay(pauseMs);
  }
}

/** Ends the input of a program, which then ends with status 0; returns what it has written to standard error. */
export async function finish({child, ended}: Running): Promise<string> {
  child.stdin?.end();
  const {status, stderr} = await ended;
  if (status !== 0) throw new Error(`status ${status}: ${stderr}`);
  return stderr;
}

/** A world; `useDemo` opens and closes it around a file's tests. */
export class World {
  /** Holds the user's home, runtime and temporary directories, the compiled programs, and what Node has compiled unless all test files share that. */
  readonly directory = mkdtempSync('/tmp/mirrord-e2e-');
  readonly runtime = join(this.directory, 'run');
  readonly temporary = join(this.directory, 'tmp');
  /** The checkout, or a copy of it that the user can read. */
  checkout = repository;
  readonly #user: OrdinaryUser | undefined;

  constructor(asRoot = false) {
    this.#user = isRoot && !asRoot ? ordinaryUser() : undefined;
    for (const name of ['', 'home', 'run', 'tmp', 'programs', 'node']) {
      const path = join(this.directory, name);
      mkdirSync(path, {recursive: true, mode: 0o700});
      if (this.#user !== undefined) chownSync(path, this.#user.uid, this.#user.gid);
    }
  }

  get mirrordPath(): string {
    return join(this.checkout, 'bin/mirrord');
  }

  get nodePath(): string {
    return join(this.checkout, 'node_modules/node/bin/node');
  }

  get launcherPath(): string {
    return join(this.checkout, `build/linux-${os.machine()}/launcher`);
  }

  /** A script of `test/e2e/programs`, or a compiled program. */
  program(name: string): string {
    return /\.(py|ts)$/.test(name)
      ? join(this.checkout, 'test/e2e/programs', name)
      : join(this.directory, 'programs', name);
  }

  /** Starts a program as the user. */
  start(argv: readonly string[], options: RunOptions = {}): Running {
    const [file = '', ...args] = [...(this.#user?.prefix ?? []), ...argv];
    const child = spawn(file, args, {
      cwd: options.cwd ?? this.directory,
      env: {
        PATH: isRoot ? systemPath : process.env['PATH'],
        HOME: join(this.directory, 'home'),
        XDG_RUNTIME_DIR: this.runtime,
        TMPDIR: this.temporary,
        NODE_COMPILE_CACHE: join(this.directory, 'node'),
        ...compileCache,
        LANG: 'C.UTF-8',
        ...options.env,
      },
      stdio: 'pipe',
    });
    return watch(child, argv.join(' '), options);
  }

  /** Runs a program as the user, to its end. */
  async run(argv: readonly string[], options: RunOptions = {}): Promise<Result> {
    return await this.start(argv, {input: '', ...options}).ended;
  }

  /** Runs `mirrord` with these arguments. */
  async mirrord(args: readonly string[], options?: RunOptions): Promise<Result> {
    return await this.run([this.mirrordPath, ...args], options);
  }

  /** Starts a program in the context of a pod. */
  startExec(argv: readonly string[], options: ExecOptions = {}): Running {
    const {target = 'demo/gateway', flags = [], ...rest} = options;
    return this.start([this.mirrordPath, 'exec', '-t', target, ...flags, '--', ...argv], rest);
  }

  /** Runs a program in the context of a pod, to its end; fails unless its status is 0. Returns what it wrote. */
  async exec(argv: readonly string[], options: ExecOptions = {}): Promise<string> {
    const {status, stdout, stderr} = await this.startExec(argv, {input: '', ...options}).ended;
    if (status === 0) return stdout;
    throw new Error(`${argv.join(' ')}: status ${status}\n${stdout}${stderr}`);
  }

  /** What runs a local program in the real network of a pod, without mirrord; `flags` are the launcher's. */
  entering({pid}: PodStatus, argv: readonly string[], ...flags: readonly string[]): string[] {
    return [this.launcherPath, 'enter', String(pid), ...flags, '--', ...argv];
  }

  /** Runs a local program so. */
  async inPod(pod: PodStatus, argv: readonly string[]): Promise<Result> {
    return await this.run(this.entering(pod, argv));
  }

  async pod(name: string): Promise<PodStatus> {
    return await podOf(this.runtime, name);
  }

  /** Makes the checkout readable for the user, and compiles programs: `x.c`, `X.java`, or a Go module's directory. */
  async open(programs: readonly string[]): Promise<void> {
    const {status} = await this.run(['test', '-r', join(repository, 'cli/main.ts')]);
    if (status !== 0) {
      this.checkout = join(this.directory, 'checkout');
      // Hard links where they are possible: the checkout is large.
      execFileSync('sh', [
        '-c',
        'cp -al "$0" "$1" 2>&- || cp -a "$0" "$1"',
        repository,
        this.checkout,
      ]);
      chmodSync(this.checkout, 0o755);
    }
    for (const name of programs) compile(name, join(this.directory, 'programs'));
  }

  /** Ends the demo and whatever else is left, and removes the directories. */
  async close(): Promise<void> {
    await this.mirrord(['demo', 'down']);
    this.sweep();
  }

  /** Kills what belongs to this world, and removes its directories. */
  sweep(): void {
    for (const {pid} of processesNaming(this.directory)) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It ended by itself.
      }
    }
    rmSync(this.directory, {recursive: true, force: true});
  }
}

function compile(name: string, directory: string): void {
  const source = join(sources, name);
  const output = join(directory, basename(name, '.c'));
  const run = (file: string, args: string[], cwd = sources): void => {
    const env = {...process.env, CGO_ENABLED: '0'};
    execFileSync(file, args, {cwd, env, stdio: ['ignore', 'pipe', 'inherit']});
  };
  if (name.endsWith('.c'))
    run('cc', ['-static', '-O1', '-Wall', '-Wextra', '-Werror', source, '-o', output]);
  else if (name.endsWith('.java')) run('javac', ['-d', directory, source]);
  else run('go', ['build', '-buildvcs=false', '-o', output, '.'], source);
}

function watch(
  child: ChildProcess,
  command: string,
  {input, hasDeadline = true}: RunOptions,
): Running {
  const output = {stdout: '', stderr: ''};
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]?.setEncoding('utf8').on('data', (text: string) => {
      output[name] += text;
    });
  }
  // A program that doesn't read its input is no error.
  child.stdin?.on('error', () => undefined);
  if (input !== undefined) child.stdin?.end(input);
  const ended = new Promise<Result>((resolve, reject) => {
    const giveUp = (): void => {
      child.kill('SIGKILL');
      reject(new Error(`${command} doesn't end; it wrote:\n${output.stdout}${output.stderr}`));
    };
    const timer = hasDeadline ? setTimeout(giveUp, programDeadlineMs).unref() : undefined;
    child.once('error', reject);
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      const status = code ?? 128 + os.constants.signals[signal ?? 'SIGHUP'];
      resolve({...output, status, stderr: output.stderr.replaceAll(progressLine, '')});
    });
  });
  const said = (pattern: RegExp): Promise<RegExpExecArray> =>
    waitFor(`${command} to say ${pattern}`, () => {
      const match = pattern.exec(output.stdout);
      if (match === null && child.exitCode !== null) {
        throw new Error(`${command} ended: ${output.stdout}${output.stderr}`);
      }
      return match ?? undefined;
    });
  return {child, pid: child.pid ?? 0, output, ended, said};
}

/** Puts a demo cluster around the tests of a file. */
export function useDemo(
  test: TestFn,
  {programs = [], asRoot = false}: {programs?: readonly string[]; asRoot?: boolean} = {},
): World {
  const world = new World(asRoot);
  // Should the tests be interrupted, the hooks don't run.
  process.once('exit', () => world.sweep());
  test.serial.before('the demo is up', async (t) => {
    t.timeout(180_000);
    await world.open(programs);
    const {status, stderr} = await world.mirrord(['demo', 'up']);
    if (status !== 0) throw new Error(`demo up: status ${status}\n${stderr}`);
  });
  test.serial.after.always('the demo is down', async () => {
    await world.close();
  });
  return world;
}
