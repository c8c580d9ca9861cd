/** Redirecting and passing on, by each tool that can, in a network namespace of its own. */

import {execFile} from 'node:child_process';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';
import test from 'ava';
import {needing, programs} from '../../helpers/needs.ts';

const program = fileURLToPath(new URL('in-namespace.ts', import.meta.url));
const tools = {
  nftables: 'nft',
  'iptables-nft': 'iptables-nft-restore',
  'iptables-legacy': 'iptables-legacy-restore',
} as const;

interface Seen {
  events: {event: string}[];
  four: string;
  six: string;
  echo: string;
  reset: string;
  seen: Record<string, number>;
  rest: string;
  afterwards: string;
  steals: string[][];
  linger: Record<'before' | 'during' | 'passing' | 'ends', number>;
  mirror: {told: string[]; isWhole: boolean};
}

/** Runs the program; returns what it saw, and the rules that it left. */
async function run(backend: string): Promise<{seen: Seen; left: string}> {
  const script = `ip link set lo up && "$0" --disable-warning=ExperimentalWarning "$1" "$2" && echo &&
    nft list ruleset && iptables-legacy-save -t nat && ip6tables-legacy-save -t nat`;
  const argv = ['-Urn', 'sh', '-c', script, process.execPath, program, backend];
  const {stdout} = await promisify(execFile)('unshare', argv, {timeout: 60_000});
  const [json = '', ...left] = stdout.split('\n');
  return {seen: JSON.parse(json) as Seen, left: left.join('\n')};
}

for (const [backend, tool] of Object.entries(tools)) {
  const here = needing(test, programs(tool));
  here(
    `${backend}: what no client takes reaches the application, and nothing is left`,
    async (t) => {
      const {seen, left} = await run(backend);
      t.deepEqual(seen.events, [{event: 'active'}], 'the self-test has passed');
      t.is(seen.four, 'hello\nsaid\nbye\n', 'a server that speaks first, and half-closes');
      t.is(seen.six, 'hello\nsaid\nbye\n', 'IPv6');
      t.is(seen.echo, 'still here\n', 'a connection from before goes on');
      t.is(seen.reset, 'ECONNRESET');
      t.like(seen.seen, {accepted: 3, passed: 3, clientsFailed: 3, stolen: 0, strays: 0});
      t.is(seen.rest, 'late\nbye\n', 'a connection outlives its subscription');
      t.is(seen.afterwards, 'hello\nsaid\nbye\n', 'afterwards it is the application alone');
      t.deepEqual(
        seen.steals,
        [['active', 'EBUSY'], ['EADDRINUSE'], ['active', 'EBUSY'], ['active']],
        'abort is refused, continue waits, override ends the others',
      );
      t.deepEqual(
        seen.mirror,
        {told: ['active', 'MIRROR_TOO_SLOW'], isWhole: true},
        'a mirror that takes nothing is cut off, and the application has everything',
      );
      t.deepEqual(
        seen.linger,
        {before: 0, during: 1, passing: 0, ends: 0},
        'what nobody ends is ended, some time',
      );
      t.notRegex(left, /mirrord|MRDIN|MRDSTD|REDIRECT/, 'no rule is left');
    },
  );
}
