/**
 * `scripts/bench incoming`: what it costs an application's clients that requests are filtered. Requests to applications
 * without an agent, through haproxy, beside an agent, and through it, in turns, so that a disturbance hits all alike;
 * medians count.
 */

import {writeFileSync} from 'node:fs';
import {parseArgs} from 'node:util';
import {ordinaryUser} from '../../test/helpers/user.ts';
import {chosen, run, say, sayIfBusy} from './driver.ts';
import {type Load, loads, measure, type Sample} from './incoming/load.ts';
import {openPods, type PodName, podNames} from './incoming/pods.ts';
import {needProgram} from './network/contenders.ts';
import {BenchError} from './network/error.ts';
import {becomePerson} from './network/person.ts';
import {busyShare} from './network/usage.ts';
import {median, table} from './values.ts';

const {values: flags} = parseArgs({
  options: {
    only: {type: 'string'},
    runs: {type: 'string', default: '3'},
    seconds: {type: 'string', default: '1'},
    output: {type: 'string'},
  },
});
const [runs, seconds] = [Number(flags.runs), Number(flags.seconds)];

type Samples = Record<PodName, Sample[]>;

function report(results: ReadonlyMap<Load, Samples>): string {
  const rows = [['', '', ...podNames]];
  for (const [{title}, samples] of results) {
    const value = (name: PodName, key: keyof Sample): number =>
      median(samples[name].map((each) => each[key]));
    const alone = {
      perSecond: value('no agent', 'perSecond'),
      medianMs: value('no agent', 'medianMs'),
    };
    const line = (what: string, of: (name: PodName) => number, digits: number): string[] => [
      what,
      ...podNames.map((name) => (Number.isNaN(of(name)) ? '–' : of(name).toFixed(digits))),
    ];
    const beside =
      (of: (name: PodName) => number) =>
      (name: PodName): number =>
        name === 'no agent' ? Number.NaN : of(name);
    const share = (name: PodName): number => value(name, 'perSecond') / alone.perSecond;
    const added = (name: PodName): number => value(name, 'medianMs') - alone.medianMs;
    rows.push(
      [title, ...line('requests/s', (name) => value(name, 'perSecond'), 0)],
      ['', ...line('– of no agent', beside(share), 2)],
      ['', ...line('median, ms', (name) => value(name, 'medianMs'), 2)],
      ['', ...line('– added', beside(added), 2)],
      ['', ...line('p99, ms', (name) => value(name, 'p99Ms'), 2)],
      [
        '',
        ...line(
          'CPU, µs for a request',
          beside((name) => value(name, 'cpuMicros')),
          0,
        ),
      ],
    );
  }
  return table(rows);
}

async function bench(): Promise<void> {
  if (!(Number.isInteger(runs) && runs >= 1 && Number.isInteger(seconds) && seconds >= 1))
    throw new BenchError('--runs and --seconds are whole numbers above 0');
  const wanted = chosen(loads, flags.only);
  needProgram('wrk', 'wrk');
  needProgram('h2load', 'nghttp2-client');
  needProgram('/usr/sbin/nginx', 'nginx-light');
  needProgram('/usr/sbin/haproxy', 'haproxy');
  needProgram('go', 'golang-go');
  using person = await becomePerson();
  const busy = await busyShare();
  await using pods = await openPods(person, ordinaryUser().prefix);
  sayIfBusy(busy);
  const results = new Map<Load, Samples>();
  for (const load of wanted) {
    const samples = Object.fromEntries(podNames.map((name) => [name, []])) as unknown as Samples;
    results.set(load, samples);
    // The first run only warms.
    for (let run = 0; run <= runs; run += 1) {
      for (const [name, pod] of pods) {
        const sample = await measure(person, load, {name, pod, seconds});
        if (run > 0) samples[name].push(sample);
        const {perSecond, medianMs} = sample;
        const found = `${perSecond.toFixed(0)}/s, median ${medianMs.toFixed(2)} ms`;
        say(`${load.id} ${run || 'warm-up'} ${name}: ${found}`);
      }
    }
  }
  process.stdout.write(`${report(results)}\n`);
  if (flags.output === undefined) return;
  const all = [...results].map(([{id, title}, samples]) => ({id, title, samples}));
  writeFileSync(
    flags.output,
    `${JSON.stringify({busyShare: busy, runs, seconds, loads: all}, null, 2)}\n`,
  );
}

await run(bench);
