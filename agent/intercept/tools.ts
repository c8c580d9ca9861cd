/** Runs the tools that load redirecting rules. */

import {type SpawnSyncReturns, spawn, spawnSync} from 'node:child_process';
import {existsSync} from 'node:fs';
import {RulesError} from './backend.ts';

/** A tool that does not answer holds everything up: ms. */
export const TOOL_TIMEOUT_MS = 5_000;
/** What is kept of a tool's output, characters: the rules of a pod are few. */
const OUTPUT_LIMIT = 1_048_576;

/** By place, never by PATH. */
export function findTool(name: string): string | undefined {
  return ['/usr/sbin', '/sbin', '/usr/bin', '/usr/local/sbin']
    .map((directory) => `${directory}/${name}`)
    .find((path) => existsSync(path));
}

/** What a tool's complaint comes to. */
export function toolFailure(tool: string, complaint: string): RulesError {
  const text = complaint.trim().split('\n')[0] ?? '';
  const isDenied = /not permitted|permission denied|you must be root/i.test(complaint);
  return new RulesError(isDenied ? 'EPERM' : 'ENOTSUP', `${tool}: ${text || 'failed'}`);
}

export const toolEnvironment = {PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C'};

/** Runs a tool to its end; returns what it wrote. Rejects with RulesError. */
export async function runTool(
  path: string,
  args: readonly string[],
  input: string,
): Promise<string> {
  const child = spawn(path, args, {
    env: toolEnvironment,
    timeout: TOOL_TIMEOUT_MS,
    killSignal: 'SIGKILL',
  });
  const output = {stdout: '', stderr: ''};
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      output[name] = (output[name] + text).slice(0, OUTPUT_LIMIT);
    });
  }
  child.stdin.on('error', () => undefined); // it has complained and ended
  child.stdin.end(input);
  const {promise, resolve, reject} = Promise.withResolvers<string>();
  child.once('error', (error) => reject(toolFailure(path, error.message)));
  child.once('close', (status) =>
    status === 0 ? resolve(output.stdout) : reject(toolFailure(path, output.stderr)),
  );
  return await promise;
}

/** The same while everything else waits: at the end, when there is no later. */
export function runToolNow(path: string, args: readonly string[], input: string): void {
  const options = {
    env: toolEnvironment,
    input,
    timeout: TOOL_TIMEOUT_MS,
    encoding: 'utf8',
  } as const;
  const {status, stderr}: SpawnSyncReturns<string> = spawnSync(path, args, options);
  if (status !== 0) throw toolFailure(path, stderr ?? '');
}
