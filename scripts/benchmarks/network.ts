/**
 * `scripts/bench network`: throughput, round trips, connections, datagrams and memory through mirrord, beside
 * slirp4netns, pasta and the kernel's loopback. All contenders are up at the same time and take turns in each run, so
 * that a disturbance hits all alike; medians count. Says row by row whether what we aim at holds.
 */

import {availableParallelism, cpus, loadavg, release} from 'node:os';
import {parseArgs} from 'node:util';
import {needProgram, openContenders} from './network/contenders.ts';
import {BenchError} from './network/error.ts';
import {compileLoad} from './network/load.ts';
import {becomePerson, type Person} from './network/person.ts';
import {printReport, type Results, type RowResult} from './network/report.ts';
import {type Row, rows, type Sample, type Timing} from './network/rows.ts';

const {values: flags} = parseArgs({
  options: {
    only: {type: 'string'},
    runs: {type: 'string', default: '5'},
    seconds: {type: 'string', default: '2'},
    output: {type: 'string', default: 'bench-results'},
  },
});
const runs = Number(flags.runs);
const timing: Timing = {durationMs: Math.round(Number(flags.seconds) * 1000), warmUpMs: 500};
/** Above it, something else runs. */
const quietLoad = 0.5;

function say(text: string): void {
  process.stderr.write(`bench: ${text}\n`);
}

/** The rows that are wanted, by their ids or groups. */
function wantedRows(): Row[] {
  if (flags.only === undefined) return [...rows];
  const names = flags.only.split(',');
  const known = new Set(rows.flatMap(({id, group}) => [id, group]));
  const unknown = names.find((name) => !known.has(name));
  if (unknown !== undefined)
    throw new BenchError(`--only ${unknown}? There are: ${[...known].join(', ')}`);
  return rows.filter(({id, group}) => names.includes(id) || names.includes(group));
}

/** Measures some rows with the same contenders. */
async function measure(person: Person, load: string, wanted: readonly Row[]): Promise<RowResult[]> {
  const names = [...new Set(wanted.flatMap(({contenders}) => contenders))];
  await using contenders = await openContenders(person, load, names);
  const results: RowResult[] = [];
  for (const row of wanted) {
    const samples = new Map(row.contenders.map((name) => [name, [] as Sample[]]));
    for (let run = 1; run <= runs; run += 1) {
      for (const name of row.contenders) {
        const contender = contenders.all.get(name);
        if (contender === undefined) throw new Error(`${name} is not open`);
        const sample = await row.measure(contender, timing);
        samples.get(name)?.push(sample);
        say(`${row.id} ${run}/${runs} ${name}: ${sample.value.toFixed(row.digits)} ${row.unit}`);
      }
    }
    results.push({row, samples});
  }
  return results;
}

async function bench(): Promise<void> {
  if (!(runs >= 1 && timing.durationMs > 0))
    throw new BenchError('--runs and --seconds are numbers above 0');
  const wanted = wantedRows();
  needProgram('cc', 'gcc');
  needProgram('slirp4netns', 'slirp4netns');
  needProgram('pasta', 'passt');
  const load = loadavg()[0] ?? 0;
  if (load > quietLoad) say(`something else runs (load ${load.toFixed(1)}): only ratios tell`);
  using person = await becomePerson();
  const generator = compileLoad(person.directory);
  const results: Results = {
    machine: {
      processors: availableParallelism(),
      model: cpus()[0]?.model ?? 'unknown',
      kernel: release(),
      node: process.version,
      load,
    },
    date: new Date().toISOString(),
    runs,
    ...timing,
    rows: [],
  };
  for (const group of new Set(wanted.map(({group}) => group))) {
    const ofGroup = wanted.filter((row) => row.group === group);
    results.rows.push(...(await measure(person, generator, ofGroup)));
  }
  printReport(results, flags.output);
}

try {
  await bench();
} catch (error) {
  if (!(error instanceof BenchError)) throw error;
  say(error.message);
  process.exitCode = 1;
}
