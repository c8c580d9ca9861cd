import {execFileSync} from 'node:child_process';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import {join} from 'node:path';
import test, {type ExecutionContext} from 'ava';
import {type ExecOptions, isRoot, type Running, useDemo, waitFor} from '../helpers/e2e.ts';
import {isRunning, processTree, signal} from '../helpers/processes.ts';

const demo = useDemo(test);

/** A name that no other run of these tests has. */
const own = `mirrord-e2e-${process.pid}`;
/** A directory that neither exists here nor may be made by an ordinary user. */
const foreign = `/run/${own}`;

/** Starts a server in the gateway's pod, with its files; ends with the test. */
async function serve(
  t: ExecutionContext,
  type: 'stream' | 'seqpacket',
  name: string,
  before: readonly string[] = [],
): Promise<Running> {
  // The pod doesn't have the tests' files.
  const source = readFileSync(demo.program('unix.py'), 'utf8');
  const python = ['/usr/bin/python3', '-c', source, 'serve', type, name];
  const pod = await demo.pod('gateway');
  const flags = ['--mount', '--keep-capabilities'];
  const server = demo.start(demo.entering(pod, [...before, ...python], ...flags));
  t.teardown(() => void server.child.kill('SIGKILL'));
  await server.said(/listening/);
  return server;
}

function options(...patterns: string[]): ExecOptions {
  return {env: {MIRRORD_OUTGOING_REMOTE_UNIX_STREAMS: patterns.join(';')}};
}

const unix = (...args: string[]): string[] => ['python3', demo.program('unix.py'), ...args];

test.serial(
  '40 MB go both ways, and the end of each direction, where nothing is here',
  async (t) => {
    const path = `${foreign}/a/big.sock`;
    await serve(t, 'stream', path);
    const output = await demo.exec(
      unix('talk', 'stream', path, '40000000'),
      options(`^${foreign}/`),
    );
    t.is(output, 'True True\n');
    t.false(existsSync(foreign));
  },
);

test.serial('a hundred connections at a time are served', async (t) => {
  const path = `${foreign}/many.sock`;
  await serve(t, 'stream', path);
  const output = await demo.exec(
    unix('talk', 'stream', path, '100000', '100'),
    options(`${foreign}/many`),
  );
  t.is(output, 'True True\n'.repeat(100));
});

test.serial('curl and socat find the socket', async (t) => {
  const path = `${foreign}/tools.sock`;
  await serve(t, 'stream', path);
  const socat = `printf hello | socat -t 20 - UNIX-CONNECT:${path}`;
  const curl = `curl -sS --max-time 2 --http0.9 --unix-socket ${path} http://x/ || true`;
  const script = `${socat}; ${curl}; echo; stat -c %F ${path}`;
  t.regex(await demo.exec(['sh', '-c', script], options('tools.sock')), /hello\nsocket\n$/);
});

test.serial('records keep their boundaries, also empty ones, and their end', async (t) => {
  for (const name of [`${foreign}/records.sock`, `@${own}-records`]) {
    await serve(t, 'seqpacket', name);
    const sizes = ['1', '0', '1000', '65536', '150000', '300000', '0'];
    const output = await demo.exec(
      unix('records', 'seqpacket', name, ...sizes),
      options('records'),
    );
    t.is(output, `${sizes.map((size) => `${size} True True\n`).join('')}over 0\n`, name);
  }
});

test.serial('an abstract name is reached', async (t) => {
  const name = `@${own}-abstract`;
  await serve(t, 'stream', name);
  t.is(
    await demo.exec(unix('talk', 'stream', name, '100000'), options(`^${name}$`)),
    'True True\n',
  );
  t.is(await demo.exec(unix('connect', 'stream', name)), 'ECONNREFUSED\n');
});

test.serial('what no expression fits stays local', async (t) => {
  await serve(t, 'stream', `${foreign}/not.sock`);
  const output = await demo.exec(
    unix('connect', 'stream', `${foreign}/not.sock`),
    options('^/tmp/'),
  );
  t.is(output, 'ENOENT\n');
});

test.serial(
  'where the user may write, the machine has an empty place-holder, and files stay',
  async (t) => {
    const path = join(demo.temporary, 'made/here/x.sock');
    await serve(t, 'stream', path);
    const script = `${unix('talk', 'stream', path, '1000').join(' ')}; echo kept >${demo.temporary}/kept; read _`;
    const running = demo.startExec(['sh', '-c', script], options('/x.sock$'));
    await running.said(/True True/);
    await waitFor('the file', () => existsSync(join(demo.temporary, 'kept')));
    const status = lstatSync(path);
    t.true(status.isFile());
    t.is(status.size, 0);
    running.child.stdin?.end('\n');
    t.is((await running.ended).status, 0);
    t.deepEqual(readdirSync(demo.temporary), ['kept']);
    unlinkSync(join(demo.temporary, 'kept'));
  },
);

test.serial('a file that is here is covered inside, and left as it is', async (t) => {
  const path = join(demo.temporary, 'local.sock');
  writeFileSync(path, 'mine');
  t.teardown(() => unlinkSync(path));
  await serve(t, 'stream', path);
  t.is(await demo.exec(unix('connect', 'stream', path), options('local.sock')), 'answered\n');
  t.is(readFileSync(path, 'utf8'), 'mine');
});

test.serial('what somebody puts in the place of the place-holder is left to them', async (t) => {
  const path = join(demo.temporary, 'theirs.sock');
  await serve(t, 'stream', path);
  const script = `${unix('connect', 'stream', path).join(' ')}; read _`;
  const running = demo.startExec(['sh', '-c', script], options('theirs.sock'));
  await running.said(/answered/);
  unlinkSync(path);
  writeFileSync(path, '');
  t.teardown(() => unlinkSync(path));
  running.child.stdin?.end('\n');
  t.is((await running.ended).status, 0);
  t.true(existsSync(path));
});

test.serial(
  'a socket appears with its server, refuses when that is gone, and comes back',
  async (t) => {
    for (const path of [`${foreign}/later/x.sock`, join(demo.temporary, 'later.sock')]) {
      const running = demo.startExec(unix('watch', 'stream', path), options('later'));
      await running.said(/^ENOENT\n$/);
      const server = await serve(t, 'stream', path);
      await running.said(/answered\n$/);
      server.child.kill('SIGKILL');
      await running.said(/answered\n(closed\n|ECONNRESET\n)*ECONNREFUSED\n$/);
      await serve(t, 'stream', path);
      await running.said(/ECONNREFUSED\nanswered\n$/);
      running.child.kill('SIGTERM');
      await running.ended;
      t.false(existsSync(path));
    }
  },
);

test.serial(
  'a socket whose server is in another network namespace is reached by its path',
  async (t) => {
    const path = `${foreign}/node.sock`;
    await serve(t, 'stream', path, ['/usr/bin/unshare', '--net']);
    t.is(await demo.exec(unix('connect', 'stream', path), options(`^${path}$`)), 'answered\n');
  },
);

test.serial("links of the pod lead nowhere but in the pod's own files", async (t) => {
  const outside = join(demo.temporary, 'outside.sock');
  const local = demo.start(unix('serve', 'stream', outside));
  t.teardown(() => void local.child.kill('SIGKILL'));
  await local.said(/listening/);
  t.teardown(() => unlinkSync(outside));
  const link = `mkdir -p ${foreign} && ln -sf ../../../../..${outside} ${foreign}/link.sock`;
  const entering = demo.entering(await demo.pod('gateway'), ['/bin/sh', '-c', link], '--mount');
  t.is((await demo.run(entering)).status, 0);
  const path = `${foreign}/link.sock`;
  t.is(await demo.exec(unix('connect', 'stream', path), options(`^${path}$`)), 'ENOENT\n');
});

test.serial('a path that can not be shown is told, with what to do', async (t) => {
  const path = `/${own}/x.sock`;
  await serve(t, 'stream', path);
  if (isRoot) execFileSync('test', ['!', '-e', `/${own}`]);
  const {status, stdout, stderr} = await demo.startExec(unix('connect', 'stream', path), {
    ...options(`^${path}$`),
    flags: ['--fs-mode', 'local'],
    input: '',
  }).ended;
  t.is(status, 0);
  t.is(stdout, 'ENOENT\n');
  t.regex(stderr, new RegExp(`${path} can't be shown to the program.*sudo mkdir /${own}`, 's'));
});

test.serial(
  "in a directory of the pod's, its socket is covered, and comes back with its server",
  async (t) => {
    for (const [type, path] of [
      ['stream', `/${own}-pod/x.sock`],
      ['seqpacket', `/var/run/${own}.sock`],
    ] as const) {
      const server = await serve(t, type, path);
      const running = demo.startExec(unix('watch', type, path), options(own));
      await running.said(/^answered\n/);
      server.child.kill('SIGKILL');
      await running.said(/ECONNREFUSED\n$/);
      await serve(t, type, path);
      await running.said(/ECONNREFUSED\nanswered\n$/);
      running.child.kill('SIGTERM');
      t.is((await running.ended).stdout.match(/answered/g)?.length, 2);
    }
  },
);

for (const victim of ['mirrord', 'launcher'] as const) {
  test.serial(`nothing is left after SIGKILL of ${victim}`, async (t) => {
    const path = join(demo.temporary, 'killed/x.sock');
    await serve(t, 'stream', path);
    const script = `${unix('connect', 'stream', path).join(' ')}; read _`;
    const running = demo.startExec(['sh', '-c', script], options('killed/x.sock', own));
    await running.said(/answered/);
    t.true(existsSync(path));
    const all = processTree(running.pid);
    const pattern = victim === 'mirrord' ? /cli\/main\.ts exec/ : /launcher serve/;
    const found = all.find(({command}) => pattern.test(command));
    signal(found, 'SIGKILL');
    await waitFor('all processes to end', () => !all.some(isRunning));
    await waitFor('the place-holder to go', () => !existsSync(join(demo.temporary, 'killed')));
    t.pass();
  });
}

test.serial('a directory of the user is not hidden by a socket in it', async (t) => {
  const directory = join(demo.temporary, 'shared');
  mkdirSync(directory, {recursive: true});
  t.teardown(() => execFileSync('rm', ['-r', directory]));
  execFileSync('chmod', ['777', directory]);
  const path = join(directory, 'x.sock');
  await serve(t, 'stream', path);
  const script = `read _; ls ${directory}; ${unix('connect', 'stream', path).join(' ')}`;
  const running = demo.startExec(['sh', '-c', script], options('shared/x.sock'));
  await waitFor('the place-holder', () => existsSync(path));
  writeFileSync(join(directory, 'meanwhile'), '');
  running.child.stdin?.end('\n');
  t.is((await running.ended).stdout, 'meanwhile\nx.sock\nanswered\n');
});
