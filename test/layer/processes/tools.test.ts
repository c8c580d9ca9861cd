import test from 'ava';
import {buildTools, matchTools, skippedNames} from '../../../layer/processes/tools.ts';

const pid = process.pid;

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
