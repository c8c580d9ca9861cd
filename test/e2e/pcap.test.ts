import {statSync} from 'node:fs';
import {join} from 'node:path';
import test from 'ava';
import {type Result, useDemo, waitFor} from '../helpers/e2e.ts';
import {processTree, signal} from '../helpers/processes.ts';

const demo = useDemo(test);

/** What Wireshark finds in a capture file, verifying all checksums: a line a packet, of these fields. */
async function tshark(file: string, filter: string, ...fields: string[]): Promise<string[][]> {
  const checks = ['ip', 'tcp', 'udp'].flatMap((name) => ['-o', `${name}.check_checksum:TRUE`]);
  const wanted = fields.flatMap((field) => ['-e', field]);
  const argv = ['tshark', '-n', '-r', file, ...checks, '-Y', filter, '-T', 'fields', ...wanted];
  const {status, stdout, stderr} = await demo.run(argv);
  if (status !== 0) throw new Error(`tshark: status ${status}\n${stderr}`);
  return stdout.split('\n').flatMap((line) => (line === '' ? [] : [line.split('\t')]));
}

/** A field of capinfos(1) for the interface. */
async function capinfos(file: string, field: string): Promise<string | undefined> {
  const {stdout} = await demo.run(['capinfos', file]);
  return new RegExp(`${field} = (.*)`).exec(stdout)?.[1];
}

function file(name: string): string {
  return join(demo.temporary, name);
}

async function record(name: string, script: string): Promise<Result> {
  const flags = ['--pcap', file(name)];
  return await demo.startExec(['sh', '-c', script], {flags, input: ''}).ended;
}

const outbound = '0x00000002';

test.serial('each flow begins with a comment that names its process', async (t) => {
  const script =
    'curl -sS -o /dev/null http://orders/ & echo $!; wait; dig +short v6 & echo $!; wait';
  const {stdout, stderr} = await record('flows', script);
  const [curl, dig] = stdout.split('\n');
  const fields = ['frame.comment', 'frame.packet_flags_direction', 'tcp.dstport', 'udp.dstport'];
  const found = await tshark(file('flows'), 'frame.comment', ...fields);
  t.deepEqual(
    found,
    [
      [`curl (${curl})`, outbound, '', '53'],
      [`curl (${curl})`, outbound, '80', ''],
      [`dig (${dig})`, outbound, '', '53'],
    ],
    stderr,
  );
});

test.serial('both directions are there, as protocols that can be read', async (t) => {
  const fields = ['frame.packet_flags_direction', 'http.request.method', 'http.response.code'];
  t.deepEqual(await tshark(file('flows'), 'http', ...fields), [
    ['0x00000002', 'GET', ''],
    ['0x00000001', '', '200'],
  ]);
  const names = await tshark(file('flows'), 'dns.flags.response == 1', 'dns.qry.name');
  t.true(names.some(([name]) => name === 'orders.default.svc.cluster.local'));
});

test.serial('the file is for its owner only', (t) => {
  t.is(statSync(file('flows')).mode & 0o777, 0o600);
});

test.serial('checksums are right, also of packets with many segments', async (t) => {
  const script = `python3 ${demo.program('client.py')} upload echo 5001 ${16 * 1024 ** 2}
    python3 ${demo.program('client.py')} download echo 5002 ${16 * 1024 ** 2}`;
  t.is((await record('bulk', script)).status, 0);
  const bad = ['ip', 'tcp', 'udp'].map((name) => `${name}.checksum.status == "Bad"`).join(' || ');
  t.deepEqual(await tshark(file('bulk'), bad, 'frame.number'), []);
  const good = await tshark(
    file('bulk'),
    'ip.len > 1500 && tcp.checksum.status == "Good"',
    'ip.src',
  );
  t.is(new Set(good.map(([source]) => source)).size, 2, 'in both directions');
});

test.serial('the file tells how complete it is', async (t) => {
  t.is(await capinfos(file('bulk'), 'Number of stat entries'), '1');
});

/** Records the traffic of a program that then waits; returns when it has begun to. */
async function startRecording(name: string) {
  const script = 'curl -sS -o /dev/null http://orders/; echo done; exec sleep 1000';
  const running = demo.startExec(['sh', '-c', script], {flags: ['--pcap', file(name)]});
  await running.said(/done/);
  return running;
}

test.serial('a run that a signal ends leaves a whole file', async (t) => {
  const running = await startRecording('ended');
  running.child.kill('SIGTERM');
  t.is((await running.ended).status, 143);
  t.is((await tshark(file('ended'), 'http.response', 'http.response.code')).length, 1);
  t.is(await capinfos(file('ended'), 'Number of stat entries'), '1');
});

test.serial('even SIGKILL leaves a file that can be read', async (t) => {
  const running = await startRecording('killed');
  const isThere = async () =>
    (await tshark(file('killed'), 'tcp.flags.fin == 1', 'ip.src')).length >= 2;
  await waitFor('the packets are written', isThere);
  const node = processTree(running.pid).find(({command}) => command.includes('cli/main.ts'));
  signal(node, 'SIGKILL');
  await running.ended;
  t.is((await tshark(file('killed'), 'http.response', 'http.response.code')).length, 1);
  t.is(await capinfos(file('killed'), 'Number of stat entries'), '0');
});

test.serial('what is no file is refused, before anything is started', async (t) => {
  const {status, stdout, stderr} = await demo.startExec(['echo', 'started'], {
    flags: ['--pcap', demo.temporary],
    input: '',
  }).ended;
  t.is(status, 1);
  t.is(stdout, '');
  t.regex(stderr, /EISDIR \[MIRRORD_PCAP_UNWRITABLE\]/);
});

test.serial('there is nothing to record without a network of its own', async (t) => {
  const flags = ['--no-tun', '--pcap', file('none')];
  const {status, stderr} = await demo.startExec(['true'], {flags, input: ''}).ended;
  t.is(status, 1);
  t.regex(stderr, /--pcap .*cannot be used with .*--no-tun/);
});
