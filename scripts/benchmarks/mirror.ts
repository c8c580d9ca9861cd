/**
 * `scripts/bench mirror`: what it costs an application's clients that they are mirrored, by copies of packets, by the detour
 * through an agent without NET_RAW, and by a filter. Pods take turns, so that a disturbance hits all alike; medians count.
 */

import {writeFileSync} from 'node:fs';
import {parseArgs} from 'node:util';
import {ordinaryUser} from '../../test/helpers/user.ts';
import {chosen, run, say, sayIfBusy} from './driver.ts';
import {openPods, type Pod, type PodName, podNames} from './mirror/pods.ts';
import {type Row, rowsFor, type Sample} from './mirror/rows.ts';
import {needProgram} from './network/contenders.ts';
import {BenchError} from './network/error.ts';
import {compileLoad} from './network/load.ts';
import {becomePerson} from './network/person.ts';
import {Processes} from './network/processes.ts';
import {busyShare} from './network/usage.ts';
import {median, table} from './values.ts';

const {values: flags} = parseArgs({
  options: {
    only: {type: 'string'},
    runs: {type: 'string', default: '3'},
    seconds: {type: 'string', default: '2'},
    output: {type: 'string'},
  },
});
const [runs, seconds] = [Number(flags.runs), Number(flags.seconds)];

type Samples = Partial<Record<PodName, Sample[]>>;

async function measure(row: Row, pods: ReadonlyMap<PodName, Pod>): Promise<Samples> {
  const samples: Samples = {};
  // The first run only warms.
  for (let run = 0; run <= runs; run += 1) {
    for (const name of row.pods) {
      const pod = pods.get(name) as Pod;
      const sample = await row.measure(name, pod, seconds);
      if (run > 0) samples[name] = [...(samples[name] ?? []), sample];
      say(`${row.id} ${run || 'warm-up'} ${name}: ${sample.value.toFixed(row.digits)}`);
    }
  }
  return samples;
}

function report(results: ReadonlyMap<Row, Samples>): string {
  const rows = [['', ...podNames]];
  for (const [row, samples] of results) {
    const line = (title: string, key: keyof Sample, digits: number, but?: PodName): string[] => [
      title,
      ...podNames.map((name) => {
        const all = samples[name];
        return all === undefined || name === but
          ? '–'
          : median(all.map((each) => each[key] ?? 0)).toFixed(digits);
      }),
    ];
    rows.push(line(row.title, 'value', row.digits));
    rows.push(line(row.cpuTitle, 'cpu', row.cpuDigits, 'no agent'));
    if (samples['no agent']?.[0]?.copied !== undefined)
      rows.push(line('– share that was copied', 'copied', 2, 'no agent'));
  }
  return table(rows);
}

async function bench(): Promise<void> {
  if (!(Number.isInteger(runs) && runs >= 1 && Number.isInteger(seconds) && seconds >= 1))
    throw new BenchError('--runs and --seconds are whole numbers above 0');
  needProgram('wrk', 'wrk');
  needProgram('h2load', 'nghttp2-client');
  needProgram('haproxy', 'haproxy');
  needProgram('/usr/sbin/nginx', 'nginx-light');
  using person = await becomePerson();
  const wanted = chosen(rowsFor(person), flags.only);
  const busy = await busyShare();
  sayIfBusy(busy);
  await using processes = new Processes(person);
  const load = compileLoad(person.directory);
  const {prefix} = ordinaryUser();
  const pods = await openPods({person, processes, load, prefix});
  const results = new Map<Row, Samples>();
  for (const row of wanted) results.set(row, await measure(row, pods));
  process.stdout.write(`${report(results)}\n`);
  if (flags.output === undefined) return;
  const rows = [...results].map(([{id, title}, samples]) => ({id, title, samples}));
  writeFileSync(
    flags.output,
    `${JSON.stringify({busyShare: busy, runs, seconds, rows}, null, 2)}\n`,
  );
}

await run(bench);
