/**
 * Tests that need what not every machine has: programs, modules of theirs, root. Where it is missing they are
 * skipped, which is said; but in CI (CI=true) their file fails, so that no test is lost there unnoticed.
 */

import {spawnSync} from 'node:child_process';
import {accessSync, constants} from 'node:fs';
import type {TestFn} from 'ava';

/** The system's own programs: `nft`, for one, is also the name of an npm package's. */
export const systemPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** Debian's Python, which knows Debian's modules. */
export const python = '/usr/bin/python3';

/** What is missing, if anything is. */
export type Missing = string | undefined;

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** The programs that are not installed; of those that are given by a path, that are not there. */
export function programs(...names: readonly string[]): Missing {
  const directories = systemPath.split(':');
  const isMissing = (name: string): boolean =>
    name.includes('/')
      ? !isExecutable(name)
      : !directories.some((directory) => isExecutable(`${directory}/${name}`));
  return names.filter(isMissing).join(', ') || undefined;
}

/** A module of Python's that is not installed. */
export function pythonModule(name: string): Missing {
  const {status} = spawnSync(python, ['-c', `import ${name}`], {stdio: 'ignore'});
  return status === 0 ? undefined : `Python's ${name}`;
}

/** Root's rights. */
export function root(): Missing {
  return process.getuid?.() === 0 ? undefined : 'root';
}

/** ava's `test` that runs nothing, but lists the tests as skipped. */
function skipping(test: TestFn): TestFn {
  const skip = (...args: Parameters<typeof test.skip>): void => test.skip(...args);
  const none = Object.assign(() => undefined, {always: () => undefined, skip: () => undefined});
  const hooks = {before: none, after: none, beforeEach: none, afterEach: none};
  const tests = Object.assign(skip, {skip, todo: test.todo, failing: skip, only: skip, ...hooks});
  return Object.assign(tests, {serial: tests, macro: test.macro, meta: test.meta}) as never;
}

/** ava's `test` for tests that need all of this: `needing(test, programs('nft', 'setpriv'), root())`. */
export function needing(test: TestFn, ...needs: readonly Missing[]): TestFn {
  const missing = needs.filter((each) => each !== undefined);
  if (missing.length === 0) return test;
  const reason = `not here: ${missing.join(', ')}`;
  if (process.env['CI'] === 'true') throw new Error(reason);
  process.stderr.write(`skipped: ${reason}\n`);
  return skipping(test);
}
