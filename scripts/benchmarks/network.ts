/**
 * `scripts/bench network`: throughput, round trips, connections, datagrams and memory through mirrord, beside
 * slirp4netns, pasta and the kernel's loopback. All contenders are up at the same time and take turns in each run, so
 * that a disturbance hits all alike; medians count. Says row by row whether what we aim at holds.
 */

import {spawnSync} from 'node:child_process';
import {readFileSync} from 'node:fs';
import {availableParallelism, cpus, release} from 'node:os';
import {join} from 'node:path';
import {parseArgs} from 'node:util';
import {chosen, run, say} from './driver.ts';
import {type Contenders, needProgram, openContenders} from './network/contenders.ts';
import {openDelayed} from './network/delayed.ts';
import {BenchError} from './network/error.ts';
import {compileLink} from './network/far-end.ts';
import {compileLoad} from './network/load.ts';
import {becomePerson, type Person} from './network/person.ts';
import {report, resultsFile, writeResults} from './network/report.ts';
import {isDisturbed, type Results, type RowResult, readRows} from './network/results.ts';
import {type Row, rows, type Sample, type Timing} from './network/rows.ts';
import {busyShare} from './network/usage.ts';

const {values: flags} = parseArgs({
  options: {
    only: {type: 'string'},
    runs: {type: 'string', default: '5'},
    seconds: {type: 'string', default: '2'},
    long: {type: 'boolean', default: false},
    keep: {type: 'boolean', default: false},
    output: {type: 'string', default: 'bench-results'},
  },
});
const runs = Number(flags.runs);
const durationMs = Math.round(Number(flags.seconds) * 1000);
const timing: Timing = {
  durationMs,
  // The first run of all is the true warm-up, and no median is the first run's.
  warmUpMs: Math.min(500, Math.max(200, durationMs / 2)),
  shortFlows: flags.long ? 1_000_000 : 100_000,
};

interface Tools {
  person: Person;
  /** Paths of the programs in C. */
  load: string;
  link: string;
}

/** Sets up what a row needs. */
async function open({person, load, link}: Tools, row: Row): Promise<Contenders> {
  return row.roundTripMs === undefined
    ? await openContenders(person, load, row.contenders)
    : await openDelayed(person, {load, link}, row.roundTripMs);
}

/** Which contenders a row can share with the one before; undefined: none. */
function arena({contenders, roundTripMs, isFresh}: Row): string | undefined {
  return isFresh ? undefined : `${contenders.join()} ${roundTripMs ?? ''}`;
}

/** Measures a row once with each contender. */
async function measureOnce(
  row: Row,
  contenders: Contenders,
  keep: (name: keyof RowResult['samples'], sample: Sample) => void,
): Promise<void> {
  for (const name of row.contenders) {
    const contender = contenders.all.get(name);
    if (contender === undefined) throw new Error(`${name} is not open`);
    keep(name, await row.measure(contender, timing));
  }
}

/** Measures a row with contenders that are open, or with fresh ones for each run. */
async function measure(tools: Tools, row: Row, contenders?: Contenders): Promise<RowResult> {
  const {id, group, title, unit, digits, details} = row;
  const samples: Partial<Record<string, Sample[]>> = {};
  const busy = await busyShare();
  if (isDisturbed({busyShare: busy}))
    say(`something else uses ${Math.round(busy * 100)} % of the processors: only ratios tell`);
  for (let run = 1; run <= runs; run += 1) {
    await using fresh = contenders === undefined ? await open(tools, row) : undefined;
    const used = contenders ?? fresh;
    if (used === undefined) throw new Error('nothing is open');
    await measureOnce(row, used, (name, sample) => {
      samples[name] = [...(samples[name] ?? []), sample];
      say(`${id} ${run}/${runs} ${name}: ${sample.value.toFixed(digits)} ${unit}`);
    });
  }
  const result = {id, group, title, unit, digits, ...(details && {details})};
  return {...result, date: new Date().toISOString(), runs, durationMs, busyShare: busy, samples};
}

/** Measures rows, and hands each over as soon as it is done. */
async function measureAll(
  tools: Tools,
  wanted: readonly Row[],
  onResult: (result: RowResult) => void,
): Promise<void> {
  const shared = wanted.filter((row) => !row.isFresh);
  for (const group of Map.groupBy(shared, arena).values()) {
    const [first] = group;
    if (first === undefined) continue;
    await using contenders = await open(tools, first);
    for (const row of group) onResult(await measure(tools, row, contenders));
  }
  for (const row of wanted.filter((each) => each.isFresh)) onResult(await measure(tools, row));
}

/** The version of a Debian package: passt doesn't know its own. */
function packageVersion(name: string): string {
  const {stdout} = spawnSync('dpkg-query', ['-s', name], {encoding: 'utf8'});
  return /^Version: (.*)$/m.exec(stdout ?? '')?.[1] ?? 'unknown';
}

function emptyResults(): Results {
  const congestion = '/proc/sys/net/ipv4/tcp_congestion_control';
  return {
    machine: {
      processors: availableParallelism(),
      model: cpus()[0]?.model ?? 'unknown',
      kernel: release(),
      congestionControl: readFileSync(congestion, 'latin1').trim(),
    },
    versions: {
      node: process.version,
      slirp4netns: packageVersion('slirp4netns'),
      passt: packageVersion('passt'),
    },
    rows: [],
  };
}

async function bench(): Promise<void> {
  if (!(Number.isInteger(runs) && runs >= 1 && durationMs >= 1))
    throw new BenchError('--runs and --seconds are numbers above 0');
  const wanted = chosen(rows, flags.only);
  const names = new Set(wanted.flatMap(({contenders}) => contenders));
  if (names.has('slirp4netns, MTU 1500')) needProgram('slirp4netns', 'slirp4netns');
  if (names.has('pasta, MTU 1500')) needProgram('pasta', 'passt');
  using person = await becomePerson();
  const {directory} = person;
  const tools = {person, load: compileLoad(directory), link: compileLink(directory)};
  const results = emptyResults();
  const kept = flags.keep ? readRows(join(flags.output, resultsFile)) : [];
  const known = new Map(kept.map((row) => [row.id, row]));
  await measureAll(tools, wanted, (result) => {
    known.set(result.id, result);
    results.rows = rows.flatMap(({id}) => known.get(id) ?? []);
    writeResults(results, flags.output);
  });
  console.log(report(results));
  say(`all values and a chart are in ${flags.output}`);
}

await run(bench);
