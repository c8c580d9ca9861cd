import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import test from 'ava';
import {chart} from '../../scripts/benchmarks/network/chart.ts';
import type {ContenderName} from '../../scripts/benchmarks/network/contenders.ts';
import {mediansOf, type Results, type RowResult} from '../../scripts/benchmarks/network/results.ts';
import {judge} from '../../scripts/benchmarks/network/verdicts.ts';
import {World} from '../helpers/e2e.ts';
import {needing, programs} from '../helpers/needs.ts';

const world = new World();
test.before('a checkout that the user can read', async () => await world.open([]));
test.after.always('nothing is left', async () => await world.close());

/** A row of round trips, whose contenders have these samples. */
function roundTrips(samples: Partial<Record<ContenderName, number[]>>): RowResult {
  const entries = Object.entries(samples).map(([name, values]) => {
    return [name, values.map((value) => ({value}))];
  });
  return {
    ...{id: 'rtt', group: 'rtt', title: 'round trip', unit: 'µs', digits: 0},
    ...{date: '', runs: 3, durationMs: 1, busyShare: 0},
    samples: Object.fromEntries(entries),
  };
}

const verdicts = (row: RowResult) => judge(row.group, (what) => mediansOf(row, what));

test('an aim is judged by medians, against the better MTU of a peer', (t) => {
  const row = roundTrips({
    mirrord: [120, 1000, 90],
    'mirrord, local': [91, 91, 91],
    'slirp4netns, MTU 1500': [100, 1, 100],
    'slirp4netns, MTU 65520': [130, 130, 130],
  });
  t.deepEqual(
    verdicts(row).map(({actual, holds}) => [actual, holds]),
    [
      [1.2, true],
      [0.91, false],
    ],
  );
});

test('what was not measured is not judged', (t) => {
  const row = roundTrips({mirrord: [1], 'slirp4netns, MTU 1500': [100]});
  t.deepEqual(
    verdicts(row).map(({actual, holds}) => [actual, holds]),
    [
      [undefined, undefined],
      [undefined, undefined],
    ],
  );
});

test('the longest bar of a row has the full width, the others their share of it', (t) => {
  const svg = chart([
    roundTrips({loopback: [50], 'pasta, MTU 1500': [200], 'pasta, MTU 65520': [100]}),
  ]);
  const widths = [...svg.matchAll(/<rect x="130" y="\d+" width="([\d.]+)"/g)].map(([, w]) => w);
  t.deepEqual(widths, ['255.0', '510.0']);
});

test('scripts/bench network measures a row as an ordinary user, and writes values, verdicts and a chart', async (t) => {
  const output = join(world.directory, 'home/results');
  const program = join(world.checkout, 'scripts/benchmarks/network.ts');
  const flags = ['--only', 'delay-20-up', '--runs', '1', '--seconds', '0.2', '--output', output];
  const {status, stdout, stderr} = await world.run([world.nodePath, program, ...flags]);
  t.is(status, 0, stderr);
  t.regex(
    stdout,
    /^\| bulk TCP up, 1 flow, 20 ms of delay, Gbit\/s \| \d+\.\d\d \| \d+\.\d\d \|$/m,
  );
  const {rows} = JSON.parse(readFileSync(join(output, 'network.json'), 'utf8')) as Results;
  t.deepEqual(
    rows.map(({id, runs}) => ({id, runs})),
    [{id: 'delay-20-up', runs: 1}],
  );
  const {samples = {}} = rows[0] ?? {};
  for (const name of ['kernel TCP', 'mirrord'] as const) {
    t.is(samples[name]?.length, 1);
    t.true((samples[name]?.[0]?.value ?? 0) > 0, name);
  }
  t.regex(readFileSync(join(output, 'network.svg'), 'utf8'), /^<svg [\s\S]*<\/svg>\n$/);
});

/** scripts/setup --bench installs it. */
const withSshfs = needing(test, programs('sshfs', 'sshd'));

withSshfs(
  'scripts/bench files measures a row beside sshfs as an ordinary user, and leaves no mount',
  async (t) => {
    const output = join(world.directory, 'home/files');
    const program = join(world.checkout, 'scripts/benchmarks/files.ts');
    const flags = ['--only', 'slurp', '--delays', '0', '--runs', '1', '--output', output];
    const {status, stdout, stderr} = await world.run([world.nodePath, program, ...flags]);
    t.is(status, 0, stderr);
    t.regex(stdout, /^\| open, read, close a file of 4 KiB, ms( \| \d+\.\d{3}){3} \|/m);
    const {rows} = JSON.parse(readFileSync(join(output, 'files.json'), 'utf8')) as {
      rows: {samples: Record<string, number[]>}[];
    };
    t.deepEqual(Object.keys(rows[0]?.samples ?? {}), ['direct', 'mirrord', 'sshfs']);
    t.notRegex(readFileSync('/proc/self/mounts', 'utf8'), /fuse\.sshfs/);
  },
);
