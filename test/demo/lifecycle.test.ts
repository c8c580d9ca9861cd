import {
  chmodSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {isDeepStrictEqual} from 'node:util';
import test, {type ExecutionContext} from 'ava';
import {linksOf, TestDemo} from '../helpers/demo.ts';
import {waitFor} from '../helpers/e2e.ts';
import {needing, root} from '../helpers/needs.ts';
import {runAsUser} from '../helpers/user.ts';

const repository = fileURLToPath(new URL('../..', import.meta.url));

/** Asserts that no process and no file of the demo is left. */
async function nothingIsLeft(t: ExecutionContext, demo: TestDemo): Promise<void> {
  await waitFor('its processes to be gone', () => demo.processes().length === 0);
  t.deepEqual(readdirSync(demo.runtime), []);
}

/** Of most tests. Each begins with `up`, which does nothing where the test before it has left it running. */
const demo = new TestDemo();
test.serial.after.always('the demo has ended', () => demo[Symbol.asyncDispose]());

test.serial('several ups at once make one demo, which holds no descriptor of theirs', async (t) => {
  const held = join(demo.runtime, 'held');
  const script = 'exec 200>"$0" 5>&200; exec "$@"';
  const up = ['bash', '-c', script, held, join(repository, 'bin/mirrord'), 'demo', 'up', '--json'];
  const starts = Array.from({length: 4}, async () => {
    const {status, stdout, stderr} = await runAsUser(up, {env: {XDG_RUNTIME_DIR: demo.runtime}});
    t.is(status, 0, stderr);
    return JSON.parse(stdout) as object;
  });
  const [first, ...others] = await Promise.all(starts);
  t.true(others.every((other) => isDeepStrictEqual(other, first)));
  t.deepEqual(await demo.up(), first as never, 'and one that comes later finds it');
  const holders = demo.processes().filter((pid) => linksOf(`/proc/${pid}/fd`).includes(held));
  t.deepEqual(holders, []);
  rmSync(held);
});

test.serial(
  'a pod that dies is replaced, and its service goes on without it meanwhile',
  async (t) => {
    await demo.up();
    const before = await demo.pod('orders-0');
    process.kill(before.pid, 'SIGKILL');
    await waitFor('it to be gone', () => !existsSync(`/proc/${before.pid}`));
    const urls = Array.from({length: 10}, () => 'http://orders/');
    const {status, stdout} = await demo.inside('gateway', [
      'curl',
      '-sS',
      '-Hconnection:close',
      ...urls,
    ]);
    t.is(status, 0);
    t.is(stdout.trim().split('\n').length, 10);
    const after = (await demo.up()).pods.find(({name}) => name === 'orders-0');
    t.like(after, {ready: true, restarts: 1, addresses: before.addresses});
    t.not(after?.pid, before.pid);
  },
);

test.serial('down leaves no process and no file', async (t) => {
  const {pods} = await demo.up();
  t.true(pods.length >= 4);
  t.true(pods.every(({ready}) => ready));
  t.true(demo.processes().length > pods.length);
  const {status, stdout} = await demo.command('down');
  t.is(status, 0);
  t.is(stdout, 'The demo cluster has ended.\n');
  await nothingIsLeft(t, demo);
  t.deepEqual(
    pods.map(({pid}) => pid).filter((pid) => existsSync(`/proc/${pid}`)),
    [],
  );
});

for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
  test.serial(
    `${signal} to the supervisor ends all pods, and the demo can be started again`,
    async (t) => {
      const {pid} = await demo.up();
      process.kill(pid, signal);
      await waitFor('its processes to be gone', () => demo.processes().length === 0);
      t.deepEqual(await demo.status(), {running: false} as never);
      const again = await demo.up();
      t.not(again.pid, pid);
      t.true(again.pods.every(({ready}) => ready));
    },
  );
}

test.serial('what a killed supervisor leaves is removed by down', async (t) => {
  const {pid} = await demo.up();
  process.kill(pid, 'SIGKILL');
  await waitFor('its processes to be gone', () => demo.processes().length === 0);
  t.true(existsSync(`${demo.runtime}/mirrord/demo/state.json`));
  await demo.command('down');
  await nothingIsLeft(t, demo);
});

test.serial(
  'without a demo, status says so and has status 3, and down has nothing to do',
  async (t) => {
    await using demo = new TestDemo();
    const {status, stdout} = await demo.command('status', '--json');
    t.is(status, 3);
    t.deepEqual(JSON.parse(stdout), {running: false});
    t.is((await demo.command('down')).stdout, 'The demo cluster was not running.\n');
    t.deepEqual(readdirSync(demo.runtime), []);
  },
);

// Each has a demo of its own from here on, and they need not wait for each other.

test('a supervisor that hangs is killed by down', async (t) => {
  await using demo = new TestDemo();
  const {pid} = await demo.up();
  process.kill(pid, 'SIGSTOP');
  t.is((await demo.command('down')).status, 0);
  await nothingIsLeft(t, demo);
});

test('the demo of another version is not used, but ended by down', async (t) => {
  await using demo = new TestDemo();
  const other = mkdtempSync(join(os.tmpdir(), 'mirrord-version-'));
  t.teardown(() => rmSync(other, {recursive: true}));
  chmodSync(other, 0o755);
  for (const name of ['agent', 'bin', 'build', 'cli', 'layer', 'netstack', 'sockets', 'tunnel']) {
    cpSync(join(repository, name), join(other, name), {recursive: true});
  }
  symlinkSync(join(repository, 'node_modules'), join(other, 'node_modules'));
  const description = JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8')) as object;
  writeFileSync(join(other, 'package.json'), JSON.stringify({...description, version: '0.0.1'}));
  const env = {XDG_RUNTIME_DIR: demo.runtime};
  t.is((await runAsUser([join(other, 'bin/mirrord'), 'demo', 'up'], {env})).status, 0);
  const {status, stderr} = await demo.command('up');
  t.is(status, 1);
  t.regex(stderr, /started by mirrord 0\.0\.1; .*MIRRORD_DEMO_OUTDATED\]\n.*mirrord demo down/);
  t.is((await demo.command('down')).status, 0);
  await nothingIsLeft(t, demo);
});

needing(test, root())('root needs no user namespace', async (t) => {
  await using demo = new TestDemo({asRoot: true});
  const {pods} = await demo.up();
  t.true(pods.every(({ready}) => ready));
  const {stdout} = await demo.inside('gateway', ['sh', '-c', 'readlink /proc/self/ns/user; id -u']);
  const [pod, uid] = stdout.split('\n');
  t.is(pod, readlinkSync('/proc/self/ns/user'));
  t.is(uid, '0');
  await demo.command('down');
  await nothingIsLeft(t, demo);
});
