/** Agents of one pod that redirect by different tools see each other, in a network namespace of their own. */

import {execFile} from 'node:child_process';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';
import test from 'ava';
import {needing, programs} from '../../helpers/needs.ts';

const program = fileURLToPath(new URL('two-agents.ts', import.meta.url));
const names = ['nftables', 'iptables-nft', 'iptables-legacy'];
// One after the other: an agent that gets no time for seconds is dead to the others.
const here = needing(test, programs('nft', 'iptables-nft-save', 'iptables-legacy-save')).serial;

for (const [first, second] of names.flatMap((one) => names.map((other) => [one, other] as const))) {
  here(`${first}, then ${second}: a port has one agent, and a dead one none`, async (t) => {
    const script = `ip link set lo up && "$0" --disable-warning=ExperimentalWarning "$@" && echo &&
      nft list ruleset && iptables-legacy-save -t nat && ip6tables-legacy-save -t nat`;
    const argv = ['-Urn', 'sh', '-c', script, process.execPath, program, first, second];
    const {stdout} = await promisify(execFile)('unshare', argv, {timeout: 60_000});
    const [json = '', ...left] = stdout.split('\n');
    t.deepEqual(JSON.parse(json), {
      names: [first, second],
      hadLeavings: true,
      outcomes: {
        one: 'redirected',
        same: 'EADDRINUSE',
        ofTheDead: 'redirected',
        another: 'redirected',
      },
      hasLeavings: false,
      sees: 'EADDRINUSE',
      inherited: ['redirected', 'EADDRINUSE'],
      isBuried: true,
      free: 'redirected',
    });
    t.notRegex(left.join('\n'), /mirrord|MRDIN|MRDSTD|REDIRECT/, 'no rule is left');
  });
}
