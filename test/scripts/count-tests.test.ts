import {execFileSync, spawnSync} from 'node:child_process';
import {mkdtempSync, rmSync, symlinkSync, writeFileSync} from 'node:fs';
import os from 'node:os';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import test from 'ava';

const repository = fileURLToPath(new URL('../../', import.meta.url));
const pause = 'await new Promise((resolve) => setTimeout(resolve, 50))';

/** Runs ava on files with these bodies, and counts what it says: passed and failed. */
function count(files: Readonly<Record<string, string>>, ...flags: readonly string[]): string {
  const directory = mkdtempSync(join(os.tmpdir(), 'mirrord-count-'));
  try {
    symlinkSync(join(repository, 'node_modules'), join(directory, 'node_modules'));
    writeFileSync(
      join(directory, 'package.json'),
      '{"type": "module", "ava": {"files": ["*.test.js"]}}',
    );
    for (const [name, body] of Object.entries(files)) {
      writeFileSync(join(directory, `${name}.test.js`), `import test from 'ava';\n${body}`);
    }
    // Not as a child of this ava, which would be told so.
    const {AVA_PATH: _, ...env} = process.env;
    const ava = join(repository, 'node_modules/.bin/ava');
    const {stdout, stderr} = spawnSync(process.execPath, [ava, ...flags], {cwd: directory, env});
    const input = Buffer.concat([stdout, stderr]);
    return execFileSync(join(repository, 'scripts/count-tests'), {input, encoding: 'utf8'}).trim();
  } finally {
    rmSync(directory, {recursive: true, force: true});
  }
}

test('what passes is counted; what is skipped, to do or known to fail is not', (t) => {
  const body =
    "test('a', (t) => t.pass()); test('b', (t) => t.pass()); test.failing('c', (t) => t.fail());" +
    "test.skip('d', (t) => t.pass()); test.todo('e');";
  t.regex(count({one: body}), /^[23] 0$/);
});

test('exceptions and rejections that no test caught are failures beside failed tests', (t) => {
  const counted = count({
    one: `test('a', (t) => t.fail()); test('b', async (t) => {
      setTimeout(() => { throw new Error('uncaught'); }, 10); ${pause}; t.pass(); });`,
    two: `test('c', async (t) => { Promise.reject(new Error('unhandled')); ${pause}; t.pass(); });`,
  });
  t.regex(counted, / 3$/);
});

test('a failed hook is a failure', (t) => {
  t.is(count({one: "test.after.always('x', (t) => t.fail()); test('a', (t) => t.pass());"}), '1 1');
});

test('a test that does not end is a failure', (t) => {
  const body = "test('a', () => new Promise(() => setInterval(() => undefined, 1000)));";
  t.is(count({one: body}, '--timeout=1s'), '0 1');
});
