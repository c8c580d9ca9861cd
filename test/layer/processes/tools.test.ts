import {spawn} from 'node:child_process';
import {once} from 'node:events';
import {copyFileSync, mkdtempSync, rmSync} from 'node:fs';
import os from 'node:os';
import {join} from 'node:path';
import test from 'ava';
import {buildTools, matchTools, skippedNames} from '../../../layer/processes/tools.ts';

const pid = process.pid;

/** Whether a process is skipped for its environment. */
async function isTold(variables: NodeJS.ProcessEnv): Promise<boolean> {
  const env = {PATH: process.env['PATH'], ...variables};
  const child = spawn('sh', ['-c', 'echo; read x'], {env});
  await once(child.stdout, 'data');
  try {
    return matchTools(new Set())({pid: child.pid ?? 0, names: new Set(['sh'])});
  } finally {
    child.kill('SIGKILL');
  }
}

function isMatched(names: readonly string[], ...has: string[]): boolean {
  return matchTools(new Set(names))({pid, names: new Set(has)});
}

test('a process matches by any of its names, whole', (t) => {
  t.true(isMatched(['npm'], 'node', 'npm'));
  t.false(isMatched(['npm'], 'node', 'npmx'));
  t.false(isMatched([], 'node'));
});

test('the helpers of git are git, where git is named', (t) => {
  t.true(isMatched(['git'], 'git-remote-http'));
  t.false(isMatched(['go'], 'git-remote-http'));
  t.false(isMatched(['git'], 'github'));
});

test('ssh is git only when git has started it', async (t) => {
  const directory = mkdtempSync(join(os.tmpdir(), 'mirrord-test-'));
  t.teardown(() => rmSync(directory, {recursive: true}));
  // What names a process is its file.
  copyFileSync('/bin/sh', join(directory, 'git'));
  const git = spawn(join(directory, 'git'), ['-c', 'sleep 1000 & echo $!; wait']);
  t.teardown(() => git.kill('SIGKILL'));
  const [line] = await once(git.stdout, 'data');
  t.teardown(() => process.kill(Number(line), 'SIGKILL'));
  const names = new Set(['ssh']);
  t.true(matchTools(new Set(['git']))({pid: Number(line), names}));
  t.false(matchTools(new Set(['go']))({pid: Number(line), names}));
  t.false(isMatched(['git'], 'ssh'), 'a child of something else');
  t.true(isMatched(['ssh'], 'ssh'));
});

test('names are those of the list, of the build tools where wanted, or both', (t) => {
  t.deepEqual([...skippedNames({buildTools: false, names: ['npm']})], ['npm']);
  t.deepEqual([...skippedNames({buildTools: true, names: []})], [...buildTools]);
  t.true(skippedNames({buildTools: true, names: ['npm']}).has('npm'));
});

test('a process is skipped that was started with MIRRORD_HOST_NETWORK', async (t) => {
  t.true(await isTold({MIRRORD_HOST_NETWORK: '1'}));
  t.true(await isTold({A: '1', MIRRORD_HOST_NETWORK: 'true', Z: '1'}));
  t.false(await isTold({MIRRORD_HOST_NETWORK: 'false'}));
  t.false(await isTold({MIRRORD_HOST_NETWORK: ''}));
  t.false(await isTold({X_MIRRORD_HOST_NETWORK: '1'}));
  t.false(await isTold({X: 'MIRRORD_HOST_NETWORK=1'}));
});
