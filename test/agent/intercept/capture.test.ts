/** Mirroring by copies of packets, in a pod of network namespaces with a client's machine beside it. */

import {execFile} from 'node:child_process';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';
import test from 'ava';
import {needing, programs} from '../../helpers/needs.ts';

const program = fileURLToPath(new URL('capture/pod.ts', import.meta.url));
const here = needing(test, programs('ip', 'nc', 'nft', 'nsenter', 'setpriv', 'sysctl')).serial;

/** Runs a scenario of `pod.ts`; returns what it saw. */
async function run<Seen>(scenario: string): Promise<Seen> {
  const node = [process.execPath, '--disable-warning=ExperimentalWarning', program, scenario];
  const argv = ['-Urnmpf', '--mount-proc', '--kill-child', ...node];
  const {stdout} = await promisify(execFile)('unshare', argv, {
    timeout: 60_000,
    killSignal: 'SIGKILL',
  });
  return JSON.parse(stdout) as Seen;
}

interface Kept {
  sha256: string;
  ended: string;
}

here('what clients send is copied, and the application has them as its peers', async (t) => {
  const {expected, echoed, copies, ...seen} = await run<{
    expected: string[];
    echoed: string[];
    copies: Kept[];
  }>('bytes');
  t.deepEqual(echoed, expected);
  t.deepEqual(
    copies,
    expected.map((sha256) => ({sha256, ended: 'end'})),
  );
  t.deepEqual(seen as unknown, {
    arePeersTheClients: true,
    peer: [10, 9, 0, 1, true],
    local: [10, 9, 0, 2, 8_080],
    by: ['capture'],
    told: ['active'],
    tables: 0,
  });
});

here(
  'a reset of either side ends the copy behind its bytes; what is refused has none',
  async (t) => {
    const {expected, kept, ...seen} = await run<{expected: string[]; kept: Kept[]}>('resets');
    const [sent, reset] = expected;
    t.deepEqual(
      kept,
      [sent, reset, reset].map((sha256 = '') => ({sha256, ended: 'ECONNRESET'})),
    );
    t.deepEqual(seen as unknown, {refused: 'ECONNREFUSED', copiesOfRefused: 0});
  },
);

here('an agent is killed under load: no connection breaks, and none is refused', async (t) => {
  t.deepEqual(await run('kill'), {
    answers: ['application'],
    after: 'after',
    isWhole: true,
    tables: [0, 0],
  });
});

here(
  'nobody waits for a program that reads nothing, or for an agent that is stopped',
  async (t) => {
    t.deepEqual(await run('slow'), {
      areWhole: true,
      isLastWhole: true,
    });
  },
);

here('the kernel leaves out what nobody takes, until the connection is over', async (t) => {
  const {sums, expected, ...seen} = await run<{sums: string[]; expected: string}>('unwanted');
  t.deepEqual(seen as unknown, {leftOut: 2, failures: 0, by: ['capture', 'capture', 'capture']});
  t.deepEqual(sums, [expected, expected]);
});

here(
  'requests on connections that stand are copied, and go on when the program closes one',
  async (t) => {
    const {paths} = await run<{paths: string[]}>('pool');
    t.deepEqual(paths, ['/first', '/first', '/second', '/second', '/third']);
  },
);

here(
  'requests that fit a filter are copied, of HTTP/1 and HTTP/2, and no rule is loaded',
  async (t) => {
    t.deepEqual(await run('requests'), {
      paths: ['/0', '/2', '/h2/0', '/h2/2'],
      ofAll: ['/0', '/1', '/2'],
      by: ['capture', 'capture', 'capture'],
      told: [['active'], ['active']],
      tables: 0,
    });
  },
);

here('what only goes through the network of the target is neither copied nor stolen', async (t) => {
  t.deepEqual(await run('forwarded'), {
    other: 'behind',
    sizes: [10, 20],
    stealing: [
      ['nftables', 'thief', 'behind'],
      ['iptables', 'thief', 'behind'],
    ],
  });
});

here('what is lost on the way and sent again is in the copy once', async (t) => {
  t.deepEqual(await run('lossy'), {isEchoed: true, isCopied: true});
});

here('a port that another agent’s client steals is copied on, each connection once', async (t) => {
  t.deepEqual(await run('stolen'), {
    thief: 'thief',
    isEachOnce: true,
    large: 5,
    told: ['active'],
  });
});

here('without NET_RAW the port is redirected, but not for others’ rules', async (t) => {
  t.deepEqual(await run('instead'), {
    first: {by: ['nftables'], copies: 1},
    second: {by: ['capture'], copies: 1},
  });
});

here('an agent that may not redirect mirrors all the same', async (t) => {
  t.deepEqual(await run('powerless'), {told: ['active'], copies: 1});
});

here('metrics tell of packets, connections and copies that were cut off', async (t) => {
  type Counts = Record<string, number>;
  const {before, during, after} = await run<{before: Counts; during: Counts; after: Counts}>(
    'metrics',
  );
  const {'memory_limit_bytes{use="copies"}': limit, ...zeros} = before;
  t.is(limit, 32 << 20);
  t.deepEqual(new Set(Object.values(zeros)), new Set([0]));
  t.like(during, {
    captured_connections: 1,
    captured_connections_total: 2,
    'copies_cut_off_total{reason="lost"}': 0,
    'captured_packets_lost_total{reason="full"}': 0,
  });
  // What waits of one connection, and no more of anything else.
  const {'memory_peak_bytes{use="copies"}': peak = 0} = after;
  t.true(peak > 1 << 19 && peak <= 1 << 20, `${peak}`);
  for (const name of ['captured_packets_total', 'captured_packets_lost_total{reason="full"}']) {
    t.true((after[name] ?? 0) > (during[name] ?? 0), name);
  }
});
