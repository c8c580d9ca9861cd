/** The load generator (../load): compiled on the fly, and its two ends as processes. */

import {type ChildProcess, execFileSync} from 'node:child_process';
import {readdirSync} from 'node:fs';
import {join} from 'node:path';
import {createInterface} from 'node:readline';
import {fileURLToPath} from 'node:url';
import {BenchError} from './error.ts';

const sources = fileURLToPath(new URL('../load/', import.meta.url));

/** Where each kind of load is served. */
export interface LoadPorts {
  bulk: number;
  echo: number;
  short: number;
  udp: number;
}

/** A process of the load generator, asked and answering by lines. */
export interface LoadProcess {
  readonly child: ChildProcess;
  /** Gives the process a command, and parses its answer. Rejects when the process ends instead. */
  ask<T>(command: string): Promise<T>;
  /** The next line that it prints by itself, parsed. */
  said<T>(): Promise<T>;
}

/** Compiles the generator, statically, so that it runs wherever it is put. Returns its path. */
export function compileLoad(directory: string): string {
  const output = join(directory, 'load');
  const files = readdirSync(sources).filter((name) => name.endsWith('.c'));
  const flags = ['-std=c17', '-Wall', '-Wextra', '-Werror', '-O2', '-static'];
  execFileSync(process.env['CC'] ?? 'cc', [...flags, ...files, '-o', output], {
    cwd: sources,
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  return output;
}

/** Takes over a process that is the load generator, or that becomes it. */
export function loadProcess(name: string, child: ChildProcess): LoadProcess {
  let complaint = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    complaint = (complaint + text).slice(-2_000);
  });
  const lines: string[] = [];
  let waiting: PromiseWithResolvers<string> | undefined;
  let failure: BenchError | undefined;
  if (child.stdout === null) throw new Error('the standard output is no pipe');
  createInterface({input: child.stdout}).on('line', (line) => {
    if (waiting === undefined) lines.push(line);
    else waiting.resolve(line);
    waiting = undefined;
  });
  const fail = (reason: string): void => {
    failure = new BenchError(`${name}: ${reason} ${complaint.trim()}`);
    waiting?.reject(failure);
  };
  child.once('error', (error) => fail(error.message));
  child.once('close', (status, signal) => fail(`the load ended (${signal ?? status})`));
  const said = async <T>(): Promise<T> => {
    const line = lines.shift();
    if (line !== undefined) return JSON.parse(line) as T;
    if (failure !== undefined) throw failure;
    waiting = Promise.withResolvers();
    return JSON.parse(await waiting.promise) as T;
  };
  return {
    child,
    said,
    async ask(command) {
      child.stdin?.write(`${command}\n`);
      return await said();
    },
  };
}
