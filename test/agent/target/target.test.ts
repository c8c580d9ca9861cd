import {type ChildProcess, spawn} from 'node:child_process';
import {createSocket} from 'node:dgram';
import {once} from 'node:events';
import {mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync} from 'node:fs';
import {createServer} from 'node:net';
import {hostname, tmpdir} from 'node:os';
import {join} from 'node:path';
import test, {type ExecutionContext} from 'ava';
import {parseEnviron} from '../../../agent/target/info.ts';
import {watchProcess} from '../../../agent/target/lifecycle.ts';
import {collect, nothingFound} from '../../../agent/target/listening.ts';
import {parseRoute4, parseRoute6} from '../../../agent/target/network.ts';
import {readRootFile} from '../../../agent/target/root-files.ts';
import {CallError, callOnce} from '../../../tunnel/calls.ts';
import {
  callTarget,
  type ListeningPorts,
  subscribeLifecycle,
  subscribeListening,
} from '../../../tunnel/target.ts';
import {startAgent} from '../../helpers/agent.ts';
import {until} from '../../helpers/until.ts';

function sleeper(t: ExecutionContext, env: Record<string, string> = {}): ChildProcess {
  const child = spawn('sleep', ['1000'], {env: {PATH: process.env['PATH'] ?? '', ...env}});
  t.teardown(() => child.kill('SIGKILL'));
  return child;
}

test('the target call tells the environment, names, files and ports of a process', async (t) => {
  const child = sleeper(t, {GREETING: 'hello=world', EMPTY: ''});
  await until(() => child.pid !== undefined);
  const {layer} = await startAgent(t, {context: {targetPid: child.pid ?? 0}});
  const info = await callTarget(layer);
  t.is(child.pid, info.pid);
  t.is(info.environment['GREETING'], 'hello=world');
  t.is(info.environment['EMPTY'], '');
  t.is(info.hostName, hostname());
  const lo = info.interfaces.find(({name}) => name === 'lo');
  t.like(lo, {isLoopback: true, mtu: 65_536});
  t.like(lo?.addresses[0], {family: 4, address: '127.0.0.1', prefixLength: 8});
  t.true(Buffer.from(info.files['/etc/hosts'] ?? []).includes('localhost'));
  const [first, last] = info.localPortRange;
  t.true(first > 0 && first < last && last <= 65_535);
});

test('the target call for a process that is gone fails with ENOENT', async (t) => {
  const {layer} = await startAgent(t, {context: {targetPid: 2 ** 22 + 1}});
  const error = await t.throwsAsync(callTarget(layer), {instanceOf: CallError});
  t.is(error?.code, 'ENOENT');
});

test('a method that nobody knows fails with ENOSYS', async (t) => {
  const {layer} = await startAgent(t);
  const error = await t.throwsAsync(callOnce(layer, {method: 'constructor', params: {}}), {
    instanceOf: CallError,
  });
  t.is(error?.code, 'ENOSYS');
});

test('listening ports come at once, and again after each change', async (t) => {
  const {layer} = await startAgent(t);
  const seen: ListeningPorts[] = [];
  const stream = subscribeListening(
    layer,
    (ports) => seen.push(ports),
    () => {},
  );
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const {port} = server.address() as {port: number};
  await until(() => seen.at(-1)?.tcp4.includes(port) === true);
  t.false(seen.at(-1)?.tcp6.includes(port));
  server.close();
  await until(() => seen.at(-1)?.tcp4.includes(port) === false);
  const udp = createSocket('udp6').bind(0, '::1');
  await once(udp, 'listening');
  const udpPort = udp.address().port;
  await until(() => seen.at(-1)?.udp6.includes(udpPort) === true);
  t.false(seen.at(-1)?.udp4.includes(udpPort));
  udp.close();
  stream.reset('ECANCELED');
});

test('listeners of a table count for loopback, for the pod’s addresses, or for both', (t) => {
  const line = (address: string, state: string): string =>
    `   0: ${address} 00000000:0000 ${state} 00000000:00000000 00:00000000 00000000 0 0 1`;
  const zeros = '0'.repeat(32);
  const table = [
    '  sl  local_address rem_address   st',
    line('0100007F:0050', '0A'),
    line('00000000:0051', '0A'),
    line('3500007F:0052', '0A'),
    line('0501A8C0:0053', '0A'),
    line('0100007F:0054', '01'),
    line(`${zeros}:0060`, '0A'),
    line(`${'0'.repeat(24)}01000000:0061`, '0A'),
    line('0000000000000000FFFF00000100007F:0062', '0A'),
    line('B80D0120000000000000000001000000:0063', '0A'),
    '',
  ].join('\n');
  const found = nothingFound();
  collect(table, '0A', found);
  t.deepEqual([...found.loopback4], [0x50, 0x51, 0x52, 0x60, 0x62]);
  t.deepEqual([...found.loopback6], [0x60, 0x61]);
  t.deepEqual([...found.own4], [0x51, 0x53, 0x60]);
  t.deepEqual([...found.own6], [0x60, 0x63]);
});

test('the end of the target is told to the subscriber', async (t) => {
  const child = sleeper(t);
  const {layer} = await startAgent(t, {context: {targetPid: child.pid ?? 0}});
  const told = Promise.withResolvers<string>();
  subscribeLifecycle(
    layer,
    ({event}) => told.resolve(event),
    () => {},
  );
  await callTarget(layer);
  child.kill('SIGKILL');
  t.is(await told.promise, 'target-gone');
});

test('a process that was never there is gone at once', async (t) => {
  await t.notThrowsAsync(new Promise<void>((resolve) => watchProcess(2 ** 22 + 1, resolve)));
});

test('of two values with a name the first counts, and what has no name is left out', (t) => {
  const bytes = Buffer.from('A=1\0A=2\0=x\0noequals\0B=a=b\0__proto__=x\0');
  t.deepEqual(parseEnviron(bytes), {A: '1', B: 'a=b'});
});

test('the default route is the one with the lowest metric that does not reject', (t) => {
  const head = 'Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n';
  const routes =
    'eth1 00000000 0101A8C0 0003 0 0 200 00000000 0 0 0\neth0 00000000 01010A0A 0003 0 0 100 00000000 0 0 0\n';
  t.is(parseRoute4(head + routes), 'eth0');
  t.is(parseRoute4(`${head}* 00000000 00000000 0201 0 0 0 00000000 0 0 0\n`), null);
  const zeros = '0'.repeat(32);
  const route6 = (flags: string, metric: string, name: string): string =>
    `${zeros} 00 ${zeros} 00 ${zeros} ${metric} 00000001 00000000 ${flags} ${name}`;
  t.is(
    parseRoute6(
      `${route6('00000003', '00000400', 'eth0')}\n${route6('00200200', 'ffffffff', 'lo')}\n`,
    ),
    'eth0',
  );
  t.is(parseRoute6(route6('00200200', 'ffffffff', 'lo')), null);
});

/** A root with a file, links inside, and links that lead out. */
function makeRoot(t: ExecutionContext): string {
  const outside = mkdtempSync(join(tmpdir(), 'mirrord-outside-'));
  const root = join(outside, 'root');
  t.teardown(() => rmSync(outside, {recursive: true}));
  mkdirSync(join(root, 'etc', 'deep'), {recursive: true});
  writeFileSync(join(outside, 'secret'), 'secret');
  writeFileSync(join(root, 'secret'), 'the root’s own');
  writeFileSync(join(root, 'etc', 'hosts'), 'hosts');
  writeFileSync(join(root, 'etc', 'large'), new Uint8Array(1_048_577));
  symlinkSync('../hosts', join(root, 'etc', 'deep', 'relative'));
  symlinkSync('/etc/hosts', join(root, 'etc', 'absolute'));
  symlinkSync('../../../secret', join(root, 'etc', 'climbing'));
  symlinkSync(join(outside, 'secret'), join(root, 'etc', 'outside'));
  symlinkSync('loop', join(root, 'etc', 'loop'));
  symlinkSync('/etc', join(root, 'directory'));
  return root;
}

const reads = test.macro({
  async exec(t, path: string, content: string | undefined) {
    const bytes = await readRootFile(makeRoot(t), path);
    t.is(bytes === undefined ? undefined : Buffer.from(bytes).toString(), content);
  },
  title: (name) => `below a root, ${name}`,
});

test('a file is read', reads, '/etc/hosts', 'hosts');
test('a relative link is followed', reads, '/etc/deep/relative', 'hosts');
test('an absolute link starts at the root', reads, '/etc/absolute', 'hosts');
test('a linked directory is followed', reads, '/directory/hosts', 'hosts');
test('.. of the root is the root', reads, '/../../etc/../secret', 'the root’s own');
test('a link that climbs ends at the root', reads, '/etc/climbing', 'the root’s own');
test('a link to a file outside finds nothing', reads, '/etc/outside', undefined);
test('a link to itself finds nothing', reads, '/etc/loop', undefined);
test('a directory is no file', reads, '/etc', undefined);
test('a file over 1 MiB is not read', reads, '/etc/large', undefined);
test('an absent file finds nothing', reads, '/etc/absent/deeper', undefined);
test('a file as a directory finds nothing', reads, '/etc/hosts/deeper', undefined);
