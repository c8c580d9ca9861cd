/**
 * Runs programs as an ordinary user: as root's tests, through setpriv(1), as the user `mirrord-test`, which
 * is made when missing; otherwise as whoever runs the tests.
 */

import {execFileSync, spawn} from 'node:child_process';
import {chmodSync, chownSync, existsSync, mkdtempSync, rmSync} from 'node:fs';
import os from 'node:os';
import {join} from 'node:path';
import {compileCache} from './compile-cache.ts';
import {systemPath} from './needs.ts';

const userName = 'mirrord-test';

export interface OrdinaryUser {
  uid: number;
  gid: number;
  /** What to put before a command line, so that it runs as the user. */
  prefix: readonly string[];
}

export interface Finished {
  /** The exit status, or 128 + the number of the signal. */
  status: number;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  env?: NodeJS.ProcessEnv;
  cwd?: string;
  /** The standard input; empty by default. */
  input?: string | Uint8Array;
  /** Ends the program when it takes longer, milliseconds. */
  timeout?: number;
  /** As whoever runs the tests instead. */
  asRoot?: boolean;
}

let known: OrdinaryUser | undefined;

/** The user; for root, made if need be, and let to use the devices that any user may use elsewhere. */
export function ordinaryUser(): OrdinaryUser {
  const uid = process.getuid?.() ?? 0;
  if (uid !== 0) return {uid, gid: process.getgid?.() ?? uid, prefix: []};
  known ??= makeUser();
  return known;
}

function makeUser(): OrdinaryUser {
  const id = (option: string): number =>
    Number(execFileSync('id', [option, userName], {encoding: 'utf8', stdio: 'pipe'}));
  // Test files that run side by side make one user.
  const make = `id ${userName} || useradd --create-home --shell /bin/sh ${userName}`;
  execFileSync('flock', ['/run/lock/mirrord-test-user', 'sh', '-c', make], {stdio: 'pipe'});
  for (const device of ['/dev/net/tun', '/dev/fuse']) {
    if (existsSync(device)) chmodSync(device, 0o666);
  }
  const [uid, gid] = [id('-u'), id('-g')];
  const prefix = ['setpriv', `--reuid=${uid}`, `--regid=${gid}`, '--clear-groups', '--'];
  return {uid, gid, prefix};
}

/** A private directory of the user's, or of root's, removed when disposed of. */
export function userDirectory(asRoot = false): {path: string} & Disposable {
  const path = mkdtempSync(join(os.tmpdir(), 'mirrord-test-'));
  if (!asRoot) chownSync(path, ordinaryUser().uid, ordinaryUser().gid);
  return {
    path,
    [Symbol.dispose]: () => rmSync(path, {recursive: true, force: true}),
  };
}

/** Runs a program as the user, to its end. The environment is what `env` says, PATH, and where Node keeps what it has compiled. */
export async function runAsUser(
  argv: readonly string[],
  {env = {}, cwd = '/', input = '', timeout = 60_000, asRoot = false}: RunOptions = {},
): Promise<Finished> {
  const [file = '', ...args] = [...(asRoot ? [] : ordinaryUser().prefix), ...argv];
  const child = spawn(file, args, {
    cwd,
    env: {PATH: systemPath, ...compileCache, ...env},
    timeout,
    killSignal: 'SIGKILL',
  });
  const output = {stdout: '', stderr: ''};
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      output[name] += text;
    });
  }
  child.stdin.on('error', () => undefined); // it need not read
  child.stdin.end(input);
  const {promise, resolve, reject} = Promise.withResolvers<number>();
  child.once('error', reject);
  child.once('close', (code, signal) =>
    resolve(code ?? 128 + (signal === null ? 0 : os.constants.signals[signal])),
  );
  return {status: await promise, ...output};
}
