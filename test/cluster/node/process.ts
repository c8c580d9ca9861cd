/**
 * Programs that the test cluster's own scripts run, and what they tell the person who started them.
 */

import {spawn} from 'node:child_process';
import {setTimeout as delay} from 'node:timers/promises';

/** Something that the person can understand without a stack. */
export class ClusterError extends Error {}

/** Tells of progress, on standard error: standard output is for answers. */
export function say(text: string): void {
  process.stderr.write(`cluster: ${text}\n`);
}

export interface ProgramOptions {
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  /** The standard input; none by default. */
  input?: string;
}

async function finish(
  file: string,
  args: readonly string[],
  options: ProgramOptions,
  captured: boolean,
): Promise<string> {
  const {input, ...rest} = options;
  const stdin = input === undefined ? 'ignore' : 'pipe';
  const child = spawn(file, args, {
    ...rest,
    // What it says besides goes where our progress goes.
    stdio: captured ? [stdin, 'pipe', 'pipe'] : [stdin, 2, 2],
  });
  let stdout = '';
  let stderr = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  child.stdin?.on('error', () => undefined); // it need not read
  child.stdin?.end(input);
  const {promise, resolve, reject} = Promise.withResolvers<string>();
  child.once('error', (cause) => reject(new ClusterError(`${file}: ${cause.message}`, {cause})));
  child.once('close', (code, signal) => {
    if (code === 0) resolve(stdout);
    else reject(new ClusterError(`${[file, ...args].join(' ')}: ${signal ?? code}\n${stderr}`));
  });
  return await promise;
}

/** Runs a program to its end, its output on standard error. Throws `ClusterError` unless its status is 0. */
export async function run(
  file: string,
  args: readonly string[],
  options: ProgramOptions = {},
): Promise<void> {
  await finish(file, args, options, false);
}

/** Runs a program to its end and returns its output. Throws `ClusterError` unless its status is 0. */
export async function output(
  file: string,
  args: readonly string[],
  options: ProgramOptions = {},
): Promise<string> {
  return await finish(file, args, options, true);
}

const pauseMs = 50;

/** Waits until `condition` gives true; throws `ClusterError` after `limitMs`. */
export async function waitUntil(
  what: string,
  limitMs: number,
  condition: () => boolean | Promise<boolean>,
): Promise<void> {
  const deadline = performance.now() + limitMs;
  while (!(await condition())) {
    if (performance.now() > deadline) {
      throw new ClusterError(`in vain waited ${limitMs / 1000} s until ${what}`);
    }
    await delay(pauseMs);
  }
}
