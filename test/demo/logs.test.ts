import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import os from 'node:os';
import {join} from 'node:path';
import test, {type ExecutionContext} from 'ava';
import {cutLog} from '../../cli/demo/logs.ts';
import {TestDemo} from '../helpers/demo.ts';
import {waitFor} from '../helpers/e2e.ts';

function logFile(t: ExecutionContext, content: string): string {
  const directory = mkdtempSync(join(os.tmpdir(), 'mirrord-logs-'));
  t.teardown(() => rmSync(directory, {recursive: true}));
  const path = join(directory, 'pod.log');
  writeFileSync(path, content);
  return path;
}

const lines = Array.from({length: 1000}, (_, i) => `line ${i}\n`).join('');

test('a log that is too long is cut to its last whole lines, and says so', (t) => {
  const path = logFile(t, lines);
  const writer = openSync(path, 'a');
  cutLog(path, 1000, 100);
  writeSync(writer, 'and on\n');
  closeSync(writer);
  const [first, ...rest] = readFileSync(path, 'utf8').split('\n');
  t.is(rest.join('\n'), `${lines.slice(-99)}and on\n`);
  t.is(first, `… ${lines.length - 99} bytes before this were dropped`);
});

test('a log that is short enough is left alone', (t) => {
  const path = logFile(t, lines);
  cutLog(path, lines.length, 100);
  t.is(readFileSync(path, 'utf8'), lines);
});

test('the log of a pod that never ceases to talk is bounded', async (t) => {
  await using demo = new TestDemo();
  await demo.up();
  const talk = 'head -c 20000000 /dev/zero | tr "\\0" "\\n"; exec sleep 1000';
  t.is((await demo.command('run', 'chatty', '--', 'sh', '-c', talk)).status, 0);
  const log = join(demo.runtime, 'mirrord/demo/logs/chatty.log');
  await waitFor('it is cut, and short', () => {
    const text = readFileSync(log, 'utf8');
    return text.startsWith('… ') && text.length < 5_000_000;
  });
  t.pass();
});
