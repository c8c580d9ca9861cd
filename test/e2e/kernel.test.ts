import test from 'ava';
import {World} from '../helpers/e2e.ts';
import type {OnTunOptions, OnTunReport} from './programs/on-tun.ts';

/** The netstack and a kernel face to face: no tunnel, no agent. Cases run one after another in one sandbox. */
const world = new World();
process.once('exit', () => world.sweep());

async function run(
  options: OnTunOptions,
  cases: readonly string[],
): Promise<{results: Record<string, unknown>; report: OnTunReport}> {
  const {status, stdout, stderr} = await world.run([
    world.nodePath,
    '--disable-warning=ExperimentalWarning',
    world.program('on-tun.ts'),
    JSON.stringify(options),
    'python3',
    world.program('sockets.py'),
    ...cases,
  ]);
  const [results = '', report = ''] = stdout.trim().split(/\n+/);
  if (status !== 0) throw new Error(`status ${status}\n${stdout}${stderr}`);
  return {results: JSON.parse(results), report: JSON.parse(report)};
}

let first: Awaited<ReturnType<typeof run>>;

test.serial.before('the cases are run', async (t) => {
  t.timeout(100_000);
  await world.open([]);
  first = await run({mtu: 1500}, [
    'settings',
    'connects',
    'nonblocking_connects',
    'datagram_errors',
    'unconnected_errors',
    'path_mtu',
    'echoes',
    'downloads',
    'one_byte_reader',
    'closes',
    'be_reset',
    'urgent',
    'end_first',
    'segmented_datagrams',
    'datagram_sizes',
    'fast_open',
    'multipath',
    'keepalive',
  ]);
});

test.serial.after.always(async () => {
  await world.close();
});

test.serial('the namespace and its device are set up for it', (t) => {
  t.deepEqual(first.results['settings'], {
    'ipv4/ip_unprivileged_port_start': '0',
    'ipv4/tcp_rmem': '4096 1048576 33554432',
    'ipv4/tcp_wmem': '4096 1048576 33554432',
    'ipv4/conf/all/rp_filter': '0',
    'ipv4/conf/eth0/rp_filter': '0',
    'ipv4/conf/eth0/route_localnet': '1',
    'ipv6/conf/eth0/accept_dad': '0',
    'ipv6/conf/eth0/accept_ra': '0',
    'ipv6/conf/eth0/addr_gen_mode': '1',
    'core/somaxconn': '4096',
    congestion: true,
    ping: true,
    tx_queue_len: '10000',
    mtu: '1500',
    mss: 1460,
  });
});

const V4 = [
  'ECONNREFUSED',
  'ENETUNREACH',
  'EHOSTUNREACH',
  'EHOSTUNREACH', // EACCES, EPERM: IPv4 has no sign for them
  'EHOSTUNREACH',
  'ENOPROTOOPT',
  'EPROTO',
];
const V6 = [
  'ECONNREFUSED',
  'ENETUNREACH',
  'EHOSTUNREACH',
  'EACCES',
  'EACCES',
  'ECONNREFUSED', // ENOPROTOOPT: IPv6 has no sign for it
  'EPROTO',
];

test.serial('a refused connect fails with its errno, at once or after the timeout', (t) => {
  t.deepEqual(first.results['connects'], {4: [...V4, 'ETIMEDOUT'], 6: [...V6, 'ETIMEDOUT']});
});

test.serial('a connect that does not block fails with its errno', (t) => {
  const pending = (errnos: string[]) => errnos.map((errno) => ['EINPROGRESS', errno]);
  t.deepEqual(first.results['nonblocking_connects'], {4: pending(V4), 6: pending(V6)});
});

test.serial('a connected socket hears of a failed datagram what a kernel tells of it', (t) => {
  const refused = 'ECONNREFUSED';
  // IPv6 has no sign for unreachable hosts and networks that is told to those who don't ask for it (IPV6_RECVERR).
  t.deepEqual(first.results['datagram_errors'], {
    4: [
      refused,
      'ENETUNREACH',
      'EHOSTUNREACH',
      'EHOSTUNREACH',
      'EHOSTUNREACH',
      'ENOPROTOOPT',
      'EPROTO',
      'alive',
    ],
    6: [refused, 'alive', 'alive', 'EACCES', 'EACCES', 'alive', 'EPROTO', 'alive'],
  });
});

test.serial('an unconnected socket hears of no failed datagram', (t) => {
  t.deepEqual(first.results['unconnected_errors'], ['alive', 'alive']);
});

test.serial('a narrow path is learnt, and what may be cut arrives in fragments afterwards', (t) => {
  const learnt = [1500, 1300, ['EMSGSIZE', 1200]];
  t.deepEqual(first.results['path_mtu'], {4: learnt, 6: learnt});
  t.deepEqual(first.report.datagrams[9000], [1400, 1200, 1299, 1400, 1200, 1299]);
});

test.serial('streams of all sizes come back unchanged', (t) => {
  t.deepEqual(first.results['echoes'], {4: [], 6: []});
  t.deepEqual(first.results['downloads'], [true, true]);
});

test.serial('a program that reads a byte at a time from the smallest buffer gets all', (t) => {
  t.is(first.results['one_byte_reader'], 65_536);
});

test.serial('bytes left unread, SO_LINGER 0 and SIGKILL are told as resets', (t) => {
  t.is(first.results['closes'], null);
  t.deepEqual(first.report.ends[11], ['reset']);
  t.deepEqual(first.report.ends[9], ['reset']);
  t.deepEqual(first.report.ends[13], ['reset']);
});

test.serial('a reset is ECONNRESET', (t) => {
  t.is(first.results['be_reset'], 'ECONNRESET');
});

test.serial('urgent data arrives in line', (t) => {
  t.is(first.results['urgent'], 'abc');
});

test.serial(
  'a port is used again at once, three hundred times, after the other end closed first',
  (t) => {
    t.deepEqual(first.results['end_first'], ['hello']);
    t.deepEqual(first.report.ends[21], new Array(300).fill(['end', 'close']).flat());
  },
);

test.serial('one send of many datagrams (UDP_SEGMENT) is taken apart', (t) => {
  t.is(first.results['segmented_datagrams'], null);
  const pieces = [...new Array(9).fill(1200), 700];
  t.deepEqual(first.report.datagrams[9], [...pieces, ...pieces]);
});

test.serial('datagrams of all sizes come back unchanged', (t) => {
  t.deepEqual(first.results['datagram_sizes'], []);
  t.true((first.report.counters['reassembled'] ?? 0) > 0, 'some of them in fragments');
});

test.serial('TCP fast open and MPTCP fall back to plain TCP', (t) => {
  t.is(first.results['fast_open'], 'early');
  // A kernel may have no MPTCP.
  t.true(
    ['one path', 'OSError: [Errno 92] Protocol not available'].includes(
      `${first.results['multipath']}`,
    ),
  );
});

test.serial('a keepalive is answered', (t) => {
  t.is(first.results['keepalive'], 'alive');
});

test.serial('nothing on the device was malformed or refused', (t) => {
  const {counters} = first.report;
  for (const name of ['malformed', 'badChecksum', 'writeErrors']) {
    t.is(counters[name], 0, name);
  }
});

for (const mtu of [1280, 9000, 65_520]) {
  test.serial(`without GSO, with ECN, at MTU ${mtu}: the same bytes`, async (t) => {
    const {results, report} = await run(
      {mtu, withoutGso: true, sysctls: {'net.ipv4.tcp_ecn': '1'}},
      ['echoes', 'downloads', 'datagram_sizes'],
    );
    t.deepEqual(results, {echoes: {4: [], 6: []}, downloads: [true, true], datagram_sizes: []});
    t.is(report.counters['writeErrors'], 0);
  });
}

test.serial('without TSO, with windows that share a budget: the same bytes', async (t) => {
  const {results, report} = await run({mtu: 1500, withoutTso: 64_000}, ['echoes', 'downloads']);
  t.deepEqual(results, {echoes: {4: [], 6: []}, downloads: [true, true]});
  t.is(report.largest, 1500, 'there were no super-segments');
});

test.serial('with TSO there are super-segments, and they are taken too', (t) => {
  t.true(first.report.takesGso);
  t.true(first.report.largest > 20_000, `${first.report.largest}`);
});
