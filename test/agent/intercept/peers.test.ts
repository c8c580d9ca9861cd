/** Agents that are processes of their own share a pod's incoming traffic, in a network namespace of their own. */

import {execFile} from 'node:child_process';
import {release} from 'node:os';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';
import test from 'ava';
import {needing, programs, pythonModule, root} from '../../helpers/needs.ts';

const here = needing(test, programs('nft')).serial;
const withSetpriv = needing(test, programs('nft', 'setpriv')).serial;
const withGrpc = needing(test, programs('nft'), pythonModule('grpc')).serial;
const withLoad = needing(test, programs('nft', 'h2load', 'nginx')).serial;
const asRoot = needing(test, programs('nft', 'setpriv'), root()).serial;

/** Runs a scenario of `pod.ts`, or one that is a program of its own; returns what it saw. */
async function run<Seen>(scenario: string, namespaces = '-Urnpf'): Promise<Seen> {
  const isProgram = scenario.endsWith('.ts');
  const program = new URL(`peers/${isProgram ? scenario : 'pod.ts'}`, import.meta.url);
  const script = 'ip link set lo up && exec "$0" --disable-warning=ExperimentalWarning "$@"';
  const argv = [
    ...namespaces.split(' '),
    '--kill-child',
    'sh',
    '-c',
    script,
    process.execPath,
    fileURLToPath(program),
    scenario,
  ];
  const {stdout} = await promisify(execFile)('unshare', argv, {
    timeout: 60_000,
    killSignal: 'SIGKILL',
  });
  return JSON.parse(stdout) as Seen;
}

here('each agent’s client gets what its filter wants, by the rules of one', async (t) => {
  t.deepEqual(await run('filters'), {
    first: ['a', 'b', 'c', 'application'],
    seen: {tables: 1, told: [['active'], ['active'], ['active']]},
    second: ['a', 'application', 'c', 'application'],
    third: ['a', 'application', 'application', 'application'],
    left: 0,
  });
});

here('filters are asked in the order in which they came, whoever leads', async (t) => {
  t.deepEqual(await run('order'), {
    first: ['a'],
    second: ['b'],
    third: ['b'],
    fourth: ['application'],
    left: 0,
  });
});

here('who owned a port has it whoever leads', async (t) => {
  t.deepEqual(await run('places'), {
    owned: 'owner\nbye\n',
    after: 'waiting\nbye\n',
    told: [['active'], ['active']],
  });
});

here('a leader ends under load: every request is answered by the right side', async (t) => {
  t.deepEqual(await run('end'), {
    by: [['b'], ['c'], ['application']],
    told: [['active'], ['active']],
    hasWaited: false,
    tables: 1,
    left: 0,
  });
});

for (const [scenario, name] of [
  ['lingers', 'its client leaves'],
  ['cutOff', 'its client is cut off'],
  ['terminated', 'it gets SIGTERM'],
] as const) {
  here(
    `${name}: what passes through an agent goes on to its end, and then it is gone`,
    async (t) => {
      t.deepEqual(await run(scenario), {
        passed: [true, true, true, true],
        others: ['application', 'b', 'b'],
        isWhole: true,
        isThere: true,
        ends: ['', 'bye\n'],
        status: 0,
        kept: ['200'],
        left: 0,
      });
    },
  );
}

withSetpriv('no more than four agents linger in a pod: the oldest ends first', async (t) => {
  const [displaced, over] = ['others linger', 'they are over'];
  t.deepEqual(await run('manyLinger'), {
    ends: ['', '', ...Array(4).fill('true bye\n')],
    reasons: [displaced, displaced, over, over, over, over],
    left: 0,
  });
});

here('who holds the places of those that linger cuts nothing off', async (t) => {
  t.deepEqual(await run('noPlace'), {isSame: true, said: 'bye\n', left: 0});
});
for (const scenario of ['killed', 'killedBesideStolen']) {
  here(`${scenario}: what passes through an agent that is killed goes on to its end`, async (t) => {
    t.deepEqual(await run(scenario), {
      passed: [true, true],
      isWhole: true,
      ends: ['', 'bye\n'],
      kept: ['200'],
      streams: ['application'],
      fresh: ['application'],
      isOwn: true,
    });
  });
}

here(
  'connections of HTTP/2 of which programs had requests go on without an agent that is killed',
  async (t) => {
    t.deepEqual(await run('killedDivided'), {
      byProgram: ['a'],
      streams: ['application'],
      isOwn: true,
    });
  },
);

here(
  'so they do when a filter of bodies thinks about each request, and others overtake it',
  async (t) => {
    t.deepEqual(await run('killedThinking'), {
      byProgram: ['a'],
      streams: ['application'],
      isOwn: true,
    });
  },
);

interface Calls extends Record<'before' | 'ownBefore' | 'after' | 'ownAfter', object> {
  peers: number;
}

withGrpc('gRPC: calls that are no program’s go on without an agent that is killed', async (t) => {
  const {ownBefore, ...others} = await run<Calls>('grpc-killed.ts');
  const ends = Object.keys(ownBefore);
  t.true(ends.includes('program'));
  const lost = /^(program|application|UNAVAILABLE|INTERNAL|CANCELLED)$/;
  t.deepEqual(
    ends.filter((end) => !lost.test(end)),
    [],
  );
  const {before, after, ownAfter, peers} = others;
  t.deepEqual([before, after, ownAfter].map(Object.keys), Array(3).fill(['application']));
  t.is(peers, 1, 'all over one connection');
});

withLoad('h2load and nginx: requests that are no program’s go on without it', async (t) => {
  t.deepEqual(await run('h2load-killed.ts'), {
    lost: 0,
    untold: 0,
    areMany: false,
    areBothAsked: true,
    connections: 4,
  });
});

here('a connection on which nobody has asked since a program was asked goes on, too', async (t) => {
  t.deepEqual(await run('quiet-killed.ts'), [
    'asked program',
    'begun ended application',
    'asked application',
    'asked application',
  ]);
});

here('what cannot be read by the application is refused, and the connection goes on', async (t) => {
  const refused = 'reset by 7';
  t.deepEqual(await run('unheard-killed.ts'), {1: 'program', 3: refused, 5: 'application'});
});

here('an agent that lingers may be killed, too', async (t) => {
  const others = ['asked application', 'begun ended application'];
  t.deepEqual(await run('lingering-killed.ts'), {
    whole: others,
    divided: ['asked program', ...others],
  });
});

here('an answer that waits for its client goes on with its trailers', async (t) => {
  t.deepEqual(await run('held-killed.ts'), {isWhole: true, resets: 1});
});

here('if it is the process that stands by that is killed, another one does', async (t) => {
  t.deepEqual(await run('standbyKilled'), {
    passed: [true, true],
    end: 'bye\n',
    isAnother: true,
  });
});

here('an agent does not linger in a pod that is gone', async (t) => {
  t.deepEqual(await run('podGone'), {isSame: true, said: '', left: 0});
});

interface Killed {
  told: string[][];
  tables: number;
  after: string[];
  answered: Record<string, number>[];
  applicationMs: number;
  programsMs: number;
  left: number;
}

here('a leader is killed under load: the next one clears its rules away', async (t) => {
  const {answered, applicationMs, programsMs, ...seen} = await run<Killed>('kill');
  t.deepEqual(seen, {
    told: [['active'], ['active']],
    tables: 1,
    after: ['application', 'b', 'c', 'application'],
    left: 0,
  });
  const wrong = answered.map((by) => Object.keys(by).filter((name) => /^[abc]$/.test(name)));
  t.deepEqual(wrong, [['b'], ['c'], []], 'nobody gets what is somebody else’s');
  t.log(`the application answers after ${applicationMs} ms, the programs after ${programsMs} ms`);
});

/** Linux 5.12: NFT_TABLE_F_OWNER. */
const [major = 0, minor = 0] = release().split('.').map(Number);
const isOld = major < 5 || (major === 5 && minor < 12) ? 'Linux 5.12' : undefined;
const withOwner = needing(test, programs('nft', 'pgrep'), isOld).serial;
withOwner('the only agent is killed: the kernel takes its rules away with it', async (t) => {
  const {applicationMs} = await run<{applicationMs: number}>('alone', '-Urnpf --mount-proc');
  t.log(`the application answers after ${applicationMs} ms`);
  t.pass();
});

here(
  'a steal without a filter owns its port among agents, as on_concurrent_steal says',
  async (t) => {
    t.deepEqual(await run('concurrent'), {
      owned: 'owner',
      won: 'winner',
      told: [['active'], ['EADDRINUSE'], ['active', 'EBUSY'], ['active'], ['active']],
      after: 'winner',
      left: 0,
    });
  },
);

here('HTTP/2: the requests of one connection are divided among agents', async (t) => {
  t.deepEqual(await run('http2'), {
    first: ['a', 'b', 'application', 'b', 'a'],
    second: ['application', 'b', 'application', 'b', 'application'],
  });
});

here('bytes, ends, resets and copies go through one agent to the client of another', async (t) => {
  t.deepEqual(await run('bytes'), {isSame: true, isCopied: true, reset: 'ECONNRESET'});
});

here('who holds the meeting point and says nothing has agents meet elsewhere', async (t) => {
  t.deepEqual(await run('silence'), {
    told: [['active'], ['active']],
    answers: ['a', 'b'],
    left: 0,
  });
});

here('who holds the meeting point and hangs up keeps nobody from redirecting', async (t) => {
  t.deepEqual(await run('hangup'), {told: ['NOT_JOINED', 'active'], answers: ['a'], left: 0});
});

withSetpriv('an agent that may not redirect does not lead those that may', async (t) => {
  t.deepEqual(await run('powerless'), {
    told: ['EPERM', 'active'],
    answers: ['a', 'application'],
  });
});

interface Stopped {
  times: number[];
  answered: Record<string, number>[];
}

here('a leader is stopped under load: others lead, and when it goes on, it follows', async (t) => {
  const {times, answered, ...seen} = await run<Stopped>('stopped');
  const [application, ...programs] = times;
  t.deepEqual(seen as unknown, {
    isSame: true,
    said: 'bye\n',
    after: ['a', 'b', 'c', 'application', 'e'],
    told: [['active'], ['active'], ['active'], ['active']],
    follows: true,
    left: 0,
  });
  const wrong = answered.map((by) => Object.keys(by).filter((name) => /^[a-e]$/.test(name)));
  t.deepEqual(wrong, [['b'], ['c'], []], 'nobody gets what is somebody else’s');
  t.log(`the application answers after ${application} ms, the programs after ${programs} ms`);
});

here('one that was stopped goes on leading if nobody else does by then', async (t) => {
  t.deepEqual(await run('alonestopped'), {
    isDeposed: false,
    seen: ['application', 'b'],
    after: ['a', 'b', 'application'],
    last: ['a', 'application'],
    told: [['active'], ['active']],
    left: 0,
  });
});

here('what anybody says at the meeting point is heard for a while, and hurts nobody', async (t) => {
  const {ends, late, ...seen} = await run<{ends: string[]; late: string[]}>('hostile');
  const [silent, plain, nonsense, ...upgrades] = ends;
  t.regex(silent ?? '', / 408 /);
  t.regex(plain ?? '', / 400 /);
  t.is(nonsense, '');
  for (const answer of upgrades) t.regex(answer, / 101 /, 'and no answer to a wrong word, or none');
  t.deepEqual(late, ['NOT_JOINED', 'EADDRINUSE']);
  t.deepEqual(seen as unknown, {
    told: ['active'],
    answers: ['a', 'b', 'application'],
    left: 0,
  });
});

asRoot('agents deal with nobody but root and their own user', async (t) => {
  t.deepEqual(await run('strangers', '-npf'), {
    heard: '0',
    told: ['NOT_JOINED', 'active'],
    isRefused: true,
  });
});
