/**
 * Who the contenders run as: an ordinary user, as root the one of the tests, with a private directory for what they
 * keep. Ends with all that it has started.
 */

import {type ChildProcess, spawn} from 'node:child_process';
import {chownSync, mkdirSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {ordinaryUser, runAsUser, userDirectory} from '../../../test/helpers/user.ts';
import {BenchError} from './error.ts';

const repository = fileURLToPath(new URL('../../..', import.meta.url));
const path = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** The command from this checkout. */
export const mirrordPath = join(repository, 'bin/mirrord');

export interface Person extends Disposable {
  /** A private directory, gone in the end. */
  readonly directory: string;
  /** Starts a program with pipes for its standard files. */
  start(argv: readonly string[]): ChildProcess;
}

/** Prepares the user. Throws a BenchError where the user can't read this checkout. */
export async function becomePerson(): Promise<Person> {
  const user = ordinaryUser();
  if ((await runAsUser(['test', '-r', mirrordPath])).status !== 0)
    throw new BenchError(`this checkout can't be read by an ordinary user (${user.uid})`);
  const directory = userDirectory();
  for (const name of ['home', 'run', 'tmp']) {
    const made = join(directory.path, name);
    mkdirSync(made, {mode: 0o700});
    chownSync(made, user.uid, user.gid);
  }
  const children = new Set<ChildProcess>();
  return {
    directory: directory.path,
    start(argv) {
      const [file = '', ...args] = [...user.prefix, ...argv];
      const child = spawn(file, args, {
        cwd: directory.path,
        env: {
          PATH: path,
          HOME: join(directory.path, 'home'),
          XDG_RUNTIME_DIR: join(directory.path, 'run'),
          TMPDIR: join(directory.path, 'tmp'),
          LANG: 'C.UTF-8',
        },
        stdio: 'pipe',
      });
      child.stdin.on('error', () => undefined); // it need not read
      children.add(child);
      child.once('close', () => children.delete(child));
      return child;
    },
    [Symbol.dispose]() {
      for (const child of children) child.kill('SIGKILL');
      directory[Symbol.dispose]();
    },
  };
}
