/**
 * Run in a network namespace of its own (`two-agents.test.ts`): an agent redirects by the first tool of the arguments,
 * and others by the second want its port, and one of their own. Writes what became of it as JSON.
 */

import {execFileSync} from 'node:child_process';
import {createServer} from 'node:net';
import type {Backend} from '../../../agent/intercept/backend.ts';
import {findBackends} from '../../../agent/intercept/backends.ts';
import {iptablesInstall} from '../../../agent/intercept/iptables-rules.ts';
import {Redirect} from '../../../agent/intercept/redirect.ts';
import {nftInstall} from '../../../agent/intercept/rules.ts';
import {makeLog} from '../../../agent/log.ts';

const [, , first = '', second = ''] = process.argv;
const log = makeLog('error', (line) => process.stderr.write(line));
const listener = createServer().listen(0);
const restores = {
  'iptables-nft': ['iptables-nft-restore', 'ip6tables-nft-restore'],
  'iptables-legacy': ['iptables-legacy-restore', 'ip6tables-legacy-restore'],
} as const;

/** An agent that loads its rules by one tool, and sees what all of them show. */
function agent(id: string, name: string, predecessor?: string): Redirect {
  const all = findBackends(id);
  const backends = all.toSorted((one, other) => rank(one, name) - rank(other, name));
  const isNever = (): boolean => false;
  const options = {to: 4_000, backends, predecessor, log};
  return new Redirect({...options, isInUse: isNever, isSending: isNever});
}

const rank = (backend: Backend, name: string): number => (backend.name === name ? 0 : 1);

async function outcome(redirect: Redirect, port: number): Promise<string> {
  try {
    await redirect.add(port);
    return 'redirected';
  } catch (error) {
    return String((error as {code: unknown}).code);
  }
}

const run = (tool: string, args: string[], input = ''): string =>
  execFileSync(`/usr/sbin/${tool}`, args, {input, encoding: 'utf8'});
const rules = (): string =>
  run('nft', ['list', 'ruleset']) +
  ['iptables-legacy-save', 'ip6tables-legacy-save']
    .map((tool) => run(tool, ['-t', 'nat']))
    .join('');

// One that was killed long ago.
if (first === 'nftables') {
  run('nft', ['-f', '-'], nftInstall('mirrord-dead0000', {ports: [], to: 1}));
  run('nft', ['flush', 'map', 'inet', 'mirrord-dead0000', 'ports']);
} else {
  const script = iptablesInstall(
    'dead0000',
    {ports: [90], to: 1},
    {isInstalled: false, acceptsLocal: false, nowMs: 1e12},
  );
  for (const tool of restores[first as keyof typeof restores]) run(tool, ['--noflush'], script);
}
const hadLeavings = rules().includes('dead0000');

const one = agent('00000001', first);
const other = agent('00000002', second);
const outcomes = {
  one: await outcome(one, 80),
  same: await outcome(other, 80),
  ofTheDead: await outcome(other, 90),
  another: await outcome(other, 81),
};
const hasLeavings = rules().includes('dead0000');

// Somebody takes the other's rules away: they come back with the next port, and work. A table that has an owner can't be.
let isOwned = false;
if (second === 'nftables') {
  try {
    run('nft', ['delete', 'table', 'inet', 'mirrord-00000002']);
  } catch {
    isOwned = true;
  }
} else {
  const tool = second === 'iptables-nft' ? 'iptables-nft' : 'iptables-legacy';
  for (const [chain, ...out] of [
    ['IN', 'PREROUTING', '-m', 'addrtype', '--dst-type', 'LOCAL'],
    ['STD', 'OUTPUT', '-o', 'lo'],
  ] as const) {
    const [hook = '', ...match] = out;
    run(tool, ['-t', 'nat', '-D', hook, ...match, '-j', `MRD${chain}_00000002`]);
    run(tool, ['-t', 'nat', '-F', `MRD${chain}_00000002`]);
    run(tool, ['-t', 'nat', '-X', `MRD${chain}_00000002`]);
  }
}
await other.add(82);
const sees = await outcome(one, 82);

// Who takes another one's ports over has them at once, and no one else's; then that one is gone.
const heir = agent('00000003', first, '00000002');
const inherited = [await outcome(heir, 82), await outcome(heir, 80)];
await heir.bury('00000002');
const isBuried = rules().includes('00000002') === isOwned;
heir.close();

one.close();
const free = await outcome(other, 80);
other.close();
listener.close();
const names = [one.backendName, other.backendName];
process.stdout.write(
  JSON.stringify({names, hadLeavings, outcomes, hasLeavings, sees, inherited, isBuried, free}),
);
