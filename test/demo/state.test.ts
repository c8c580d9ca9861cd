import {chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync} from 'node:fs';
import os from 'node:os';
import {join} from 'node:path';
import test from 'ava';
import {
  demoPaths,
  identify,
  isAlive,
  lockDemo,
  makeDirectories,
  readState,
  writeState,
} from '../../cli/demo/state.ts';

function scratch(): {path: string} & Disposable {
  const path = mkdtempSync(join(os.tmpdir(), 'mirrord-state-'));
  return {path, [Symbol.dispose]: () => rmSync(path, {recursive: true, force: true})};
}

test('the lock is held by one at a time, and free when it is given back', async (t) => {
  using place = scratch();
  const paths = demoPaths(place.path);
  const first = await lockDemo(paths);
  await t.throwsAsync(lockDemo(paths, 200), {code: 'MIRRORD_DEMO_BUSY'});
  first[Symbol.dispose]();
  using _second = await lockDemo(paths);
});

test('the locks of two demos are independent', async (t) => {
  using place = scratch();
  using _one = await lockDemo(demoPaths(join(place.path, 'one')));
  using _two = await lockDemo(demoPaths(join(place.path, 'two')));
  t.pass();
});

test('a directory that others can enter is refused', (t) => {
  using place = scratch();
  mkdirSync(join(place.path, 'mirrord'), {mode: 0o700});
  chmodSync(join(place.path, 'mirrord'), 0o755);
  t.throws(() => makeDirectories(demoPaths(join(place.path, 'mirrord/demo'))), {
    code: 'MIRRORD_DEMO_STATE_UNSAFE',
  });
});

test('a link in the place of the directory is refused', (t) => {
  using place = scratch();
  mkdirSync(join(place.path, 'elsewhere'), {mode: 0o700});
  symlinkSync('elsewhere', join(place.path, 'mirrord'));
  t.throws(() => makeDirectories(demoPaths(join(place.path, 'mirrord/demo'))), {
    code: 'MIRRORD_DEMO_STATE_UNSAFE',
  });
});

test('a path too long for a socket is refused with a hint', (t) => {
  const error = t.throws(() => demoPaths(`/tmp/${'x'.repeat(100)}`), {
    code: 'MIRRORD_DEMO_PATH_TOO_LONG',
  });
  t.regex(String((error as {hint?: string}).hint), /XDG_RUNTIME_DIR/);
});

test('a process is told from a later one with the same number', (t) => {
  const own = identify(process.pid);
  if (own === undefined) throw new Error('not running?');
  t.true(isAlive(own));
  t.false(isAlive({...own, startTime: '1'}));
  t.is(identify(2 ** 22 + 1), undefined);
});

test('the state lists only processes that still run', (t) => {
  using place = scratch();
  const paths = demoPaths(place.path);
  const own = identify(process.pid);
  if (own === undefined) throw new Error('not running?');
  writeState(paths, [own, {pid: own.pid, startTime: '1'}]);
  t.deepEqual(readState(paths), [own]);
});

test('half a state is no state', (t) => {
  using place = scratch();
  const paths = demoPaths(place.path);
  writeFileSync(paths.state, '{"processes": [');
  t.deepEqual(readState(paths), []);
});
