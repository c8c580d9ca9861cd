import {writeFileSync} from 'node:fs';
import test from 'ava';
import {useDemo} from '../helpers/e2e.ts';
import {useSession} from '../helpers/session.ts';

const world = useDemo(test);
const write = {flags: ['--fs-mode', 'write']};
const writing = useSession(test, world, write);

/** Runs a script in the pod, with its files and all rights there. */
async function inPod(script: string): Promise<string> {
  const shell = ['/bin/sh', '-ec', script];
  const flags = ['--mount', '--keep-capabilities'];
  const entering = world.entering(await world.pod('gateway'), shell, ...flags);
  const {status, stdout, stderr} = await world.run(entering);
  if (status !== 0) throw new Error(`in the pod: ${stderr}`);
  return stdout;
}

async function errorOf(command: string): Promise<string> {
  return (await writing.run(['sh', '-c', command])).stderr;
}

test.serial("what the pod's file system refuses is refused with its own words", async (t) => {
  await inPod(`
    mkdir /app/small /app/fixed
    mount -t tmpfs -o size=64k none /app/small
    mount -t tmpfs -o ro none /app/fixed`);
  t.regex(
    await errorOf('dd if=/dev/zero of=/app/small/x bs=4k count=100 conv=fsync'),
    /No space left on device/,
  );
  t.regex(await errorOf('echo x > /app/small/x && cat /dev/zero >> /app/small/x'), /No space/);
  t.regex(await errorOf('touch /app/fixed/x'), /Read-only file system/);
  // A disk would be full as soon as a page is touched, which is a SIGBUS; here it is when it is written.
  const mapped = `
import mmap, os
file = os.open('/app/small/mapped', os.O_RDWR | os.O_CREAT)
os.ftruncate(file, 400_000)
with mmap.mmap(file, 0) as memory:
    memory[:] = bytes([1]) * 400_000
    memory.flush()`;
  t.regex(
    await errorOf(`rm /app/small/x; python3 -c '${mapped.replaceAll("'", '"')}'`),
    /No space/,
  );
});

test.serial('what is mounted in the pod is neither removed nor moved nor replaced', async (t) => {
  await inPod(`
    mkdir -p /app/mounted/volume; cd /app/mounted
    echo under > file; echo over > other; echo new > new
    mount -t tmpfs none volume; mount --bind other file`);
  const script = `
    cd /app/mounted
    rmdir volume; rm file; mv volume v; mv file f; mv -f new file
    python3 -c 'import os; os.rename("new", "file")'`;
  const said = await errorOf(script);
  t.is(said.match(/busy/gi)?.length, 6, said);
  t.is(
    await inPod('cd /app/mounted; cat file new; grep -c /app/mounted/ /proc/mounts'),
    'over\nnew\n2\n',
  );
});

test.serial(
  'a file that is made while it is read says that it is empty, and is read',
  async (t) => {
    await inPod(': > /app/version; mount --bind /proc/version /app/version');
    t.regex(await world.exec(['cat', '/app/version']), /^Linux version /);
    t.is(await world.exec(['stat', '-c', '%s', '/app/version']), '0\n');
  },
);

test.serial('a directory of 100,000 entries: each name once, with its attributes', async (t) => {
  await inPod('mkdir /app/many; cd /app/many; seq 100000 | xargs touch');
  const count = async (command: string) => (await world.exec(['sh', '-c', command])).trim();
  t.is(await count('ls -f /app/many | sort -u | wc -l'), '100002');
  t.is(await count('find /app/many -type f -size 0 | sort -u | wc -l'), '100000');
  await inPod('rm -r /app/many');
});

test.serial(
  'who removes what is listed meanwhile misses nothing, even if places are counted, and it is gone',
  async (t) => {
    await inPod(`
    mkdir /app/counted; mount -t ramfs none /app/counted; chmod 777 /app/counted
    cd /app/counted; seq 10000 | xargs touch`);
    const remove = `
import os
first = next(os.scandir('/app/counted')).path
listed = os.open('/app/counted', os.O_RDONLY) # with its first entries
os.unlink(first)
os.listdir(listed)
print(os.path.exists(first))
os.close(os.open(first, os.O_CREAT | os.O_WRONLY))
for entry in os.scandir('/app/counted'): os.unlink(entry.path)
print(len(os.listdir('/app/counted')))`;
    t.is(await writing.exec(['python3', '-c', remove]), 'False\n0\n');
  },
);

test.serial('names that no text has, and as long as they can be, come from the pod', async (t) => {
  const long = 'n'.repeat(255);
  const deep = Array.from({length: 15}, () => 'd'.repeat(250)).join('/');
  await inPod(`
    mkdir -p /app/strange/${deep}
    cd /app/strange
    echo 1 > "$(printf '\\377\\376')"; echo 2 > "$(printf 'a\\nb')"; echo 3 > ${long}; echo 4 > ${deep}/x; echo 5 > ' '`);
  const script = [
    'cd /app/strange',
    `cat "$(printf '\\377\\376')" "$(printf 'a\\nb')" ${long} ${deep}/x ' '`,
    'find . -type f -print0 | tr -cd "\\0" | wc -c',
  ].join('; ');
  t.is(await world.exec(['sh', '-c', script]), '1\n2\n3\n4\n5\n5\n');
  await inPod('rm -r /app/strange');
});

test.serial('a file that grows is read to its new end', async (t) => {
  const read = `
import sys
print('reading', flush=True)
with open('/app/growing') as file:
    text = ''
    while not text.endswith('end\\n'):
        text += file.read()
print(text == ''.join(f'line {i}\\n' for i in range(1, 301)) + 'end\\n')`;
  await inPod(': > /app/growing');
  const running = world.startExec(['python3', '-c', read], {input: ''});
  await running.said(/reading/);
  await inPod(
    'i=1; while [ $i -le 300 ]; do echo line $i; i=$((i + 1)); done >> /app/growing; echo end >> /app/growing',
  );
  t.is((await running.ended).stdout, 'reading\nTrue\n');
  await inPod('rm /app/growing');
});

test.serial('who reads on in a log that is rotated, or removed, reads that one', async (t) => {
  const follow = `
import os
file = os.open('/app/log', os.O_RDONLY)
inode = os.fstat(file).st_ino
print(os.read(file, 100), flush=True)
text = b''
while not text.endswith(b'end\\n'):
    status = os.fstat(file)
    assert status.st_ino == inode and status.st_size >= 6, status
    text += os.read(file, 100)
print(text, os.fstat(file).st_nlink)`;
  await inPod('echo first > /app/log');
  const running = world.startExec(['python3', '-c', follow], {input: ''});
  await running.said(/first/);
  await inPod('mv /app/log /app/log.1; echo > /app/log; echo more >> /app/log.1');
  await inPod('exec 3>> /app/log.1; rm /app/log.1; echo end >&3');
  t.is((await running.ended).stdout, "b'first\\n'\nb'more\\nend\\n' 0\n");
  await inPod('rm /app/log');
});

test.serial('what is open is changed, not what has its name by now', async (t) => {
  await inPod('cd /app; echo one > one; chmod 644 one; echo two > two; chmod 644 two');
  const change = `
import os, sys
file = os.open('/app/one', os.O_RDONLY)
print('open', flush=True)
sys.stdin.read(1)
os.fchmod(file, 0o600)
os.utime(file, (5, 5))`;
  const running = world.startExec(['python3', '-c', change], write);
  await running.said(/open/);
  await inPod('cd /app; mv one old; mv two one');
  running.child.stdin?.end('\n');
  t.is((await running.ended).status, 0);
  t.is(await inPod('cd /app; stat -c "%a %Y" old; stat -c %a one; rm old one'), '600 5\n644\n');
});

test.serial(
  'what was just read in the pod and is written here is read here from then on',
  async (t) => {
    const path = `${world.temporary}/both`;
    const make = (who: string) =>
      `mkdir -p ${path}; echo ${who} > ${path}/x; echo ${who}${who} > ${path}/y`;
    await inPod(make('pod'));
    await world.run(['sh', '-c', make('here')]);
    const config = `${world.temporary}/both.json`;
    writeFileSync(config, JSON.stringify({feature: {fs: {read_only: [`^${path}(/|$)`]}}}), {
      mode: 0o644,
    });
    const script = `
    cd ${path}
    cat x; echo more >> x; cat x; stat -c %s x
    cat y; truncate -s 4 y; cat y; stat -c %s y`;
    t.is(
      await world.exec(['sh', '-c', script], {flags: ['-f', config]}),
      'pod\nhere\nmore\n10\npodpod\nhere4\n',
    );
  },
);

test.serial('O_DIRECT, and locks between programs', async (t) => {
  const script = `
    cd /app
    dd if=/dev/urandom of=direct bs=4096 count=100 oflag=direct status=none
    dd if=direct bs=8192 iflag=direct status=none | cmp - direct && echo same
    exec 9> lock; flock 9
    flock -n lock true || echo busy
    flock -u 9; flock -n lock echo free
    rm direct lock`;
  t.is(await writing.exec(['sh', '-c', script]), 'same\nbusy\nfree\n');
});

test.serial("what another process of the pod's changes is seen a second later", async (t) => {
  await inPod('mkdir -p /app/shared/v1; cd /app/shared; echo one | tee x > v1/x; ln -s v1 data');
  const script = `
    cd /app/shared; cat x; test -e y || echo none; test -d data; read _
    cat data/x
    while ! grep -q two x || ! grep -q two data/x || ! test -e y; do :; done
    cat x y`;
  const running = world.startExec(['sh', '-c', script]);
  await running.said(/one\nnone\n/);
  // As a ConfigMap is changed: whoever looks finds the old or the new one, even if he has found the directory before.
  const change = (from: string, to: string): string =>
    `cd /app/shared; mkdir ${to}; cp x ${to}; ln -s ${to} new; mv -T new data; rm -r ${from}`;
  await inPod(change('v1', 'v2'));
  running.child.stdin?.end('\n');
  await running.said(/one\nnone\none\n/);
  await inPod('cd /app/shared; echo two > x; mv x z; cp z x; echo new > y');
  await inPod(change('v2', 'v3'));
  const {stdout, stderr} = await running.ended;
  t.is(stdout, 'one\nnone\none\ntwo\nnew\n');
  t.notRegex(stderr, /data/);
  await inPod('rm -r /app/shared');
});
