/** A process in a root of its own, whose files an agent beside it serves. */

import {spawn} from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import {join} from 'node:path';
import type {ExecutionContext} from 'ava';
import {type FileClient, podFiles} from '../../layer/files/file-client.ts';
import {launcherPath} from '../../layer/native/native.ts';
import {startAgent} from './agent.ts';
import {until} from './until.ts';

export interface Target {
  /** The target's root, as this machine sees it. */
  root: string;
  /** What must never be read. */
  outside: string;
  files: FileClient;
}

/** Starts such a process, with a client of an agent beside it; both end with the test. */
export async function openTarget(t: ExecutionContext): Promise<Target> {
  const place = mkdtempSync(join(os.tmpdir(), 'mirrord-files-'));
  chmodSync(place, 0o755);
  t.teardown(() => rmSync(place, {recursive: true, force: true}));
  const root = join(place, 'root');
  mkdirSync(root);
  writeFileSync(join(place, 'secret'), 'outside');
  copyFileSync(launcherPath(), join(root, 'wait'));
  // It waits for requests that never come.
  const enter = process.getuid?.() === 0 ? ['chroot'] : ['unshare', '-r', 'chroot'];
  const [file = '', ...args] = [...enter, root, '/wait', 'files', 'root'];
  const child = spawn(file, args, {stdio: ['ignore', 'ignore', 'inherit', 'pipe']});
  t.teardown(() => child.kill('SIGKILL'));
  await until(() => readFileSync(`/proc/${child.pid}/cmdline`, 'latin1').startsWith('/wait\0'));
  const {layer} = await startAgent(t, {context: {targetPid: child.pid ?? 0}});
  const files = podFiles(layer);
  t.teardown(() => files[Symbol.dispose]());
  return {root, outside: join(place, 'secret'), files};
}
