import {once} from 'node:events';
import {existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import os from 'node:os';
import {join} from 'node:path';
import test from 'ava';
import {Launcher} from '../../../layer/sandbox/launcher.ts';
import {isPrivileged} from '../../../layer/sandbox/privilege.ts';

interface Guarded {
  launcher: Launcher;
  directory: string;
  /** Makes a file there. */
  make: (name: string) => string;
  /** Ends the launcher, as the end of mirrord does. */
  end: () => Promise<void>;
}

/** A launcher in a mount namespace, and a directory outside that it can reach. */
function guarded(t: {teardown: (act: () => void) => void}): Guarded {
  const directory = mkdtempSync(join(os.tmpdir(), 'mirrord-launcher-'));
  const launcher = new Launcher({argv: ['cat'], env: process.env, stdio: ['ignore', 1, 2]});
  t.teardown(() => {
    launcher[Symbol.dispose]();
    rmSync(directory, {recursive: true});
  });
  launcher.unshare(...(isPrivileged() ? [] : ['user' as const]), 'mnt');
  return {
    launcher,
    directory,
    make(name) {
      const path = join(directory, name);
      writeFileSync(path, '');
      return path;
    },
    async end() {
      const exited = once(launcher.process, 'exit');
      launcher[Symbol.dispose]();
      await exited;
    },
  };
}

test('what is not to be left is removed at the end, the last first', async (t) => {
  const {launcher, directory, end} = guarded(t);
  const inner = join(directory, 'a/b');
  mkdirSync(inner, {recursive: true});
  for (const path of [join(directory, 'a'), inner, join(inner, 'file')]) launcher.leaveNo(path);
  writeFileSync(join(inner, 'file'), '');
  await end();
  t.false(existsSync(join(directory, 'a')));
});

test('a directory stays if something else is in it', async (t) => {
  const {launcher, directory, end} = guarded(t);
  const path = join(directory, 'd');
  mkdirSync(path);
  launcher.leaveNo(path);
  writeFileSync(join(path, "somebody else's"), '');
  await end();
  t.true(existsSync(join(path, "somebody else's")));
});

test('a file that is mounted over in the sandbox is removed', async (t) => {
  const {launcher, make, end} = guarded(t);
  const path = make('placeholder');
  launcher.leaveNo(path);
  launcher.command('bind', make('other'), path, 'rw');
  await end();
  t.false(existsSync(path));
});

test('a file in a directory that is mounted over in the sandbox is removed', async (t) => {
  const {launcher, directory, make, end} = guarded(t);
  const path = make('hidden');
  launcher.leaveNo(path);
  launcher.command('tmpfs', directory, 'mode=0700');
  await end();
  t.false(existsSync(path));
});

test('what may be left after all is left', async (t) => {
  const {launcher, make, end} = guarded(t);
  const [kept, gone] = [make('kept'), make('gone')];
  launcher.leaveNo(kept);
  launcher.leaveNo(gone);
  launcher.leave(kept);
  await end();
  t.true(existsSync(kept));
  t.false(existsSync(gone));
});

test('a path whose directory is not there is an error, and so are too many', (t) => {
  const {launcher, directory} = guarded(t);
  t.throws(() => launcher.leaveNo(join(directory, 'none/file')), {code: 'ENOENT'});
  t.throws(() => launcher.leaveNo('relative'), {code: 'EINVAL'});
  const fill = (): void => {
    for (let i = 0; i <= 512; i++) launcher.leaveNo(join(directory, String(i)));
  };
  t.throws(fill, {code: 'ENOSPC'});
});
