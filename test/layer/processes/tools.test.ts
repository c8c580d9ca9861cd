import {spawn} from 'node:child_process';
import {once} from 'node:events';
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

test('ssh is git only when git has started it', (t) => {
  t.false(isMatched(['git'], 'ssh'));
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
