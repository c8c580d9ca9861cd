/** `scripts/fuzz`: see there. */
import {inspect, parseArgs} from 'node:util';
import {filesTarget} from './files.ts';
import {type FuzzTarget, fuzz} from './fuzzer.ts';
import {h2Target} from './h2.ts';
import {linkTarget} from './link.ts';
import {netstackTarget} from './netstack.ts';
import {tunnelTarget} from './tunnel.ts';
import {websocketTarget} from './websocket.ts';

const say = (text: string): void => {
  process.stdout.write(`${text}\n`);
};

const targets: Record<string, FuzzTarget<never>> = {
  netstack: netstackTarget as FuzzTarget<never>,
  link: linkTarget as FuzzTarget<never>,
  tunnel: tunnelTarget as FuzzTarget<never>,
  websocket: websocketTarget as FuzzTarget<never>,
  files: filesTarget as FuzzTarget<never>,
  h2: h2Target as FuzzTarget<never>,
};

const {values, positionals} = parseArgs({
  allowPositionals: true,
  options: {
    seconds: {type: 'string', default: '60'},
    rounds: {type: 'string'},
    seed: {type: 'string'},
  },
});
const [name = 'all'] = positionals;
const chosen = name === 'all' ? Object.values(targets) : [targets[name]];
const seconds = Number(values.seconds);
const rounds = Number(values.rounds ?? Number.POSITIVE_INFINITY);
const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
if (chosen.includes(undefined) || [seconds, rounds, seed].some(Number.isNaN)) {
  say(`fuzz: say one of: ${Object.keys(targets).join(', ')}, all`);
  process.exit(2);
}

for (const target of chosen) {
  if (target === undefined) continue;
  say(`${target.name}: seed ${seed}`);
  const ms = (seconds * 1_000) / chosen.length;
  const {finding, rounds: done} = await fuzz(target, {seed, rounds, ms});
  if (finding === undefined) {
    say(`${target.name}: ${done} rounds, nothing found`);
    continue;
  }
  say(`${target.name}: round ${done} fails: ${inspect(finding.error)}`);
  say('the shortest list of steps:');
  for (const step of finding.steps) say(JSON.stringify(step));
  say(`again: scripts/fuzz ${target.name} --seed ${finding.seed} --rounds 1`);
  process.exitCode = 1;
}
