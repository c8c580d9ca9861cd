import {chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import test from 'ava';
import {useDemo, waitFor} from '../helpers/e2e.ts';
import {Session, useSession} from '../helpers/session.ts';

const world = useDemo(test);
const files = (mode: string) => ({flags: ['--fs-mode', mode]});
const reading = useSession(test, world, files('read'));
const writing = useSession(test, world, files('write'));
const token = '/var/run/secrets/kubernetes.io/serviceaccount/token';

/** A configuration file of the test's, as flags. */
function configured(name: string, fs: object): {flags: string[]} {
  const path = join(world.temporary, `${name}.json`);
  writeFileSync(path, JSON.stringify({feature: {fs}}), {mode: 0o644});
  return {flags: ['-f', path]};
}

test.serial("read: what is the pod's is read there, what is ours here", async (t) => {
  const seen = await reading.exec(['cat', '/app/config.json', token]);
  t.regex(seen, /hello from the gateway.*eyJhbGciOi/s);
  t.is(await reading.exec(['pwd']), `${world.directory}\n`);
  const listed = await reading.exec(['ls', '/app']);
  t.regex(listed, /config\.json/);
  t.notRegex(listed, /node_modules/, "by mirrord's list ours, where there is none");
});

test.serial("without a word about files, what mirrord's default says: read", async (t) => {
  t.regex(
    await world.exec(['cat', '/app/config.json', '/etc/hosts']),
    /hello.*Kubernetes-managed/s,
  );
  const {status} = await world.startExec(['touch', '/app/x'], {input: ''}).ended;
  t.not(status, 0);
});

test.serial("localwithoverrides: the pod's inside of what a link of ours leads to", async (t) => {
  await using session = new Session(
    world,
    configured('link', {
      mode: 'localwithoverrides',
      read_only: ['^/var/run/secrets/kubernetes.io/'],
    }),
  );
  t.regex(await session.exec(['cat', token]), /^eyJhbGciOi/);
  const here = readdirSync('/var/run');
  const seen = (await session.exec(['ls', '-A', '/var/run'])).trim().split('\n');
  t.deepEqual(
    here.filter((name) => !seen.includes(name)),
    [],
  );
  t.true(seen.includes('secrets'));
});

test.serial('local: nothing is served', async (t) => {
  const {status, stdout} = await world.startExec(['sh', '-c', 'mount; cat /app/config.json'], {
    ...files('local'),
    input: '',
  }).ended;
  t.not(status, 0);
  t.notRegex(stdout, /type fuse/);
});

test.serial(
  "read: what is written stays on this machine, and the pod's is as it was",
  async (t) => {
    const {status} = await reading.run(['sh', '-c', 'echo x > /app/config.json']);
    t.not(status, 0, 'there is no /app here');
    t.regex(await writing.exec(['cat', '/app/config.json']), /hello/);
  },
);

test.serial("what the pod has no directory for is written into this machine's", async (t) => {
  mkdirSync(join(world.directory, 'tmp/shared/logs'), {recursive: true, mode: 0o777});
  chmodSync(join(world.directory, 'tmp/shared/logs'), 0o777);
  writeFileSync(join(world.directory, 'tmp/shared/logs/old'), 'old');
  const path = `${world.directory}/tmp/shared`;
  const options = configured('shared', {read_only: [`^${path}(/|$)`]});
  const script = `cd ${path}/logs; echo new > new; mkdir more; echo x > more/x; cat new more/x; cat old || echo none
    mv more other; ls other; rm -r other; ls`;
  t.is(await world.exec(['sh', '-c', script], options), 'new\nx\nnone\nx\nnew\n');
  t.is(readFileSync(join(path, 'logs/new'), 'utf8'), 'new\n');
});

test.serial('a program of the pod is executed', async (t) => {
  t.regex(await reading.exec(['/app/node', '--version']), /^v\d+/);
});

test.serial('write: the pod gives what a POSIX file system owes', async (t) => {
  const script = world.program('files.py');
  t.is(await writing.exec(['python3', script, '/app/posix']), 'done\n');
  await writing.exec(['rm', '-r', '/app/posix']);
  t.is(await writing.exec(['ls', '/app']), 'config.json\nnode\nservers\n');
});

test.serial('a file that is read byte by byte costs few requests', async (t) => {
  const copy = ['dd', 'if=/app/config.json', 'of=/dev/null', 'bs=1', 'status=none'];
  const {stderr} = await world.startExec(copy, {
    ...files('read'),
    env: {MIRRORD_LOG: 'debug'},
    input: '',
  }).ended;
  const line = stderr.split('\n').find((each) => each.includes('files: counters')) ?? '{}';
  const {pod} = JSON.parse(line) as {pod?: {requests: number}};
  t.true((pod?.requests ?? Number.NaN) < 30, line);
});

test.serial('attributes of a directory come with its names, not one by one', async (t) => {
  const make = 'mkdir /app/many && cd /app/many && seq 1000 | xargs touch';
  await writing.exec(['sh', '-c', make]);
  // find(1) has all names before it looks at the first file.
  const {stdout, stderr} = await world.startExec(
    ['find', '/app/many', '-type', 'f', '-size', '0'],
    {
      ...files('write'),
      env: {MIRRORD_LOG: 'debug'},
      input: '',
    },
  ).ended;
  await writing.exec(['rm', '-r', '/app/many']);
  t.is(stdout.trim().split('\n').length, 1000);
  const line = stderr.split('\n').find((each) => each.includes('files: counters')) ?? '{}';
  const {pod} = JSON.parse(line) as {pod?: {requests: number}};
  t.true((pod?.requests ?? Number.NaN) < 100, line);
});

test.serial('patterns: not found, mapped, and the pod’s inside of our own', async (t) => {
  await using session = new Session(
    world,
    configured('patterns', {
      mode: 'localwithoverrides',
      read_only: ['^/etc/os-release$', '^/app'],
      not_found: ['^/app/servers'],
      mapping: {[`^${world.directory}/seen`]: '/app'},
    }),
  );
  t.regex(await session.exec(['cat', '/etc/os-release']), /mirrord demo/);
  t.regex(await session.exec(['cat', `${world.directory}/seen/config.json`]), /hello/);
  const {status} = await session.run(['ls', '/app/servers']);
  t.not(status, 0);
  t.regex(await session.exec(['cat', '/etc/hosts']), /Kubernetes-managed/);
  t.is((await session.exec(['id', '-un'])).trim().length > 0, true);
});

test.serial('credentials for other clusters are hidden', async (t) => {
  mkdirSync(join(world.directory, 'home/.kube'), {recursive: true});
  writeFileSync(join(world.directory, 'home/.kube/config'), 'secret');
  // What is there when the program starts.
  const {status, stdout} = await world.startExec(
    ['cat', join(world.directory, 'home/.kube/config')],
    {...files('read'), input: ''},
  ).ended;
  t.not(status, 0);
  t.is(stdout, '');
});

/** What is in the user's temporary directory, and what of mirrord's is in the system's, but for other tests' own. */
function temporaries(): string[] {
  const others = /^mirrord-[a-z0-9-]+-\w{6}$/;
  const common = readdirSync('/tmp').filter((name) => /^mirrord/.test(name) && !others.test(name));
  return [...readdirSync(world.temporary), ...common].sort();
}

test.serial(
  'a program in the middle of a read is killed at once, and nothing is left',
  async (t) => {
    const before = temporaries();
    const running = world.startExec(
      ['sh', '-c', 'echo on; exec md5sum /app/node /app/node /app/node /app/node'],
      files('read'),
    );
    await running.said(/on/);
    running.child.kill('SIGKILL');
    await running.ended;
    await waitFor('nothing of it to run', () =>
      readdirSync('/proc')
        .filter((name) => /^\d+$/.test(name))
        .every((pid) => {
          try {
            return !readFileSync(`/proc/${pid}/cmdline`, 'latin1').startsWith('md5sum\0/app/node');
          } catch {
            return true; // it has just ended
          }
        }),
    );
    t.notRegex(readFileSync('/proc/self/mounts', 'utf8'), /^mirrord .* fuse /m);
    t.deepEqual(temporaries(), before);
  },
);
