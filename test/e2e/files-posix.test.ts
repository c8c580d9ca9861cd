import {existsSync} from 'node:fs';
import {release} from 'node:os';
import test from 'ava';
import {useDemo} from '../helpers/e2e.ts';

const world = useDemo(test, {programs: ['posix']});

/** Both are a tmpfs then, as the pod's root is. */
const here = existsSync('/dev/shm') ? '/dev/shm' : '/tmp';
const flags = ['--fs-mode', 'write'];

test.serial("every call of pjdfstest's catalogue ends as on a disk", async (t) => {
  const name = `mirrord-posix-${process.pid}`;
  const [there, local] = [`/app/${name}`, `${here}/${name}`];
  const script = [
    `mkdir ${there} ${local}`,
    `python3 ${world.program('posix.py')} ${there} ${local}`,
    `chmod -R 700 ${there} ${local}; rm -rf ${there} ${local}`,
  ].join('\n');
  const {stdout, stderr} = await world.startExec(['sh', '-c', script], {flags, input: ''}).ended;
  t.regex(stdout, /^[\d]{4,} cases, 0 differences\n$/, stderr);
});

test.serial("go-fuse's suite of POSIX tests", async (t) => {
  const running = world.startExec([world.program('posix'), '/app'], {flags, input: ''});
  const {stdout} = await running.ended;
  const ended = (how: string): string[] =>
    [...stdout.matchAll(new RegExp(`^--- ${how}: (\\w+)`, 'gm'))].map(([, name]) => name ?? '');
  t.true(ended('PASS').length >= 28, stdout);
  const [major = 0, minor = 0] = release().split('.').map(Number);
  const isOld = major < 6 || (major === 6 && minor < 2);
  t.deepEqual(ended('SKIP'), isOld ? ['Tmpfile'] : [], 'O_TMPFILE');
  // By which a lock of flock(2) is to keep fcntl(2) out: only NFS has that.
  const expected = ['FcntlFlockLocksFile'];
  // A link into /etc is shown as the pod's file, when it was not made just now.
  if (stdout.includes('successful symlink attack')) expected.push('OpenSymlinkRace');
  t.deepEqual(ended('FAIL'), expected);
});
