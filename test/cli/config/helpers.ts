import {mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import type {ExecutionContext} from 'ava';
import {ConfigError} from '../../../cli/config/errors.ts';
import {type LoadedConfig, type LoadOptions, loadConfig} from '../../../cli/config/load.ts';

/** Writes a file into a directory of its own, gone after the test. */
export function file(t: ExecutionContext, name: string, text: string | Uint8Array): string {
  const directory = mkdtempSync(join(tmpdir(), 'mirrord-config-'));
  t.teardown(() => rmSync(directory, {recursive: true}));
  const path = join(directory, name);
  writeFileSync(path, text);
  return path;
}

/** Loads a value as if it were a file. */
export function load(
  t: ExecutionContext,
  value: unknown,
  options: Partial<LoadOptions> = {},
): LoadedConfig {
  return loadConfig({file: file(t, 'mirrord.json', JSON.stringify(value)), env: {}, ...options});
}

/** What is wrong with a file, each problem without the file's own name. */
export function problems(t: ExecutionContext, name: string, text: string | Uint8Array): string[] {
  const path = file(t, name, text);
  const error = t.throws(() => loadConfig({file: path, env: {}}), {instanceOf: ConfigError});
  return error.problems.map((problem) => problem.replace(`${path}:`, '').replace(`${path} `, ''));
}
