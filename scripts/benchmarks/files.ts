/**
 * `scripts/bench files`: the pod's files through mirrord, beside sshfs, over a link with and without a delay. Both are up
 * at the same time and take turns in each run, so that a disturbance hits both alike; medians count. Each run has
 * files of its own, so that nothing is known of them before ("warm" rows say what is). Where the kernel runs whom decides about
 * small requests, and stays as it is for a while: sessions are new ones of all.
 */

import {spawnSync} from 'node:child_process';
import {mkdirSync, writeFileSync} from 'node:fs';
import {availableParallelism, cpus, release} from 'node:os';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {parseArgs} from 'node:util';
import {chosen, run, say} from './driver.ts';
import {
  type Contender,
  type ContenderName,
  contenderNames,
  openContenders,
  sshd,
} from './files/contenders.ts';
import {advantage, amounts, inUnit, type Row, rows} from './files/rows.ts';
import {needProgram} from './network/contenders.ts';
import {BenchError} from './network/error.ts';
import {compile, compileLink} from './network/far-end.ts';
import {becomePerson, type Person} from './network/person.ts';
import {busyShare} from './network/usage.ts';
import {median, table} from './values.ts';

const probeSource = fileURLToPath(new URL('files/probe.c', import.meta.url));

const {values: flags} = parseArgs({
  options: {
    only: {type: 'string'},
    delays: {type: 'string', default: '0,1,20'},
    sessions: {type: 'string', default: '1'},
    runs: {type: 'string', default: '3'},
    output: {type: 'string', default: 'bench-results'},
  },
});
const sessions = Number(flags.sessions);
const runs = Number(flags.runs);
const delays = flags.delays.split(',').map(Number);

interface Result {
  readonly row: Row;
  readonly delayMs: number;
  readonly samples: ReadonlyMap<ContenderName, readonly number[]>;
}

/** Gives a probe a command. Returns how long it took, s. */
async function ask({probe}: Contender, command: string): Promise<number> {
  const {seconds, error} = await probe.ask<{seconds: number; error?: string}>(command);
  if (error !== undefined) throw new BenchError(`${command}: ${error}`);
  return seconds;
}

async function measureRow(
  row: Row,
  delayMs: number,
  all: ReadonlyMap<ContenderName, Contender>,
): Promise<Result> {
  const much = amounts(delayMs);
  const samples = new Map<ContenderName, number[]>();
  const direct = all.get('direct');
  if (direct === undefined) throw new Error('nothing is open');
  for (let run = 1; run <= runs; run += 1) {
    for (const [name, contender] of all) {
      const base = `${row.id}-${name}-${run}`;
      for (const command of row.prepare?.(join(direct.directory, base), much) ?? []) {
        await ask(direct, command);
      }
      const {directory} = contender;
      const place = {large: join(directory, 'large'), own: join(directory, base)};
      for (const command of row.before?.(place, much) ?? []) await ask(contender, command);
      const value = inUnit(row, await ask(contender, row.command(place, much)), much);
      samples.set(name, [...(samples.get(name) ?? []), value]);
      const {digits, unit} = row;
      say(`${row.id} +${delayMs} ms ${run}/${runs} ${name}: ${value.toFixed(digits)} ${unit}`);
      const left = join(direct.directory, base);
      await ask(direct, `run rm -rf ${left} ${left}.made`);
    }
  }
  return {row, delayMs, samples};
}

async function measureAt(
  tools: {person: Person; probe: string; link: string},
  delayMs: number,
  wanted: readonly Row[],
): Promise<Result[]> {
  await using contenders = await openContenders(tools.person, tools, delayMs);
  const {all} = contenders;
  const direct = all.get('direct');
  if (direct === undefined) throw new Error('nothing is open');
  const large = amounts(delayMs).mebibytes * 1_048_576;
  await ask(direct, `write ${join(direct.directory, 'large')} ${large} 1048576`);
  const results: Result[] = [];
  for (const row of wanted) results.push(await measureRow(row, delayMs, all));
  return results;
}

/** Puts what was measured of the same row by several sessions together. */
function together(results: readonly Result[]): Result[] {
  const byRow = Map.groupBy(results, ({row, delayMs}) => `${row.id} ${delayMs}`);
  return [...byRow.values()].flatMap((same) => {
    const samples = contenderNames.map(
      (name) => [name, same.flatMap((each) => each.samples.get(name) ?? [])] as const,
    );
    return same.slice(0, 1).map((first) => ({...first, samples: new Map(samples)}));
  });
}

function medians({samples}: Result): Record<ContenderName, number> {
  const entries = contenderNames.map((name) => [name, median(samples.get(name) ?? [])] as const);
  return Object.fromEntries(entries) as Record<ContenderName, number>;
}

/** A table for each delay. */
function report(results: readonly Result[]): string {
  const groups = Map.groupBy(results, ({delayMs}) => delayMs);
  const tables = [...groups].map(([delayMs, group]) => {
    const lines = group.map((result) => {
      const {title, unit, digits} = result.row;
      const of = medians(result);
      const values = contenderNames.map((name) => of[name].toFixed(digits));
      const ratio = advantage(result.row, of.mirrord, of.sshfs);
      return [
        `${title}, ${unit}`,
        ...values,
        ratio >= 1 ? ratio.toFixed(2) : `**${ratio.toFixed(2)}**`,
      ];
    });
    const head = [`${delayMs} ms`, ...contenderNames, 'mirrord : sshfs'];
    return table([head, ...lines]);
  });
  return tables.join('\n\n');
}

function packageVersion(name: string): string {
  const {stdout} = spawnSync('dpkg-query', ['-s', name], {encoding: 'utf8'});
  return /^Version: (.*)$/m.exec(stdout ?? '')?.[1] ?? 'unknown';
}

function write(results: readonly Result[], busy: number): void {
  const json = {
    date: new Date().toISOString(),
    machine: {processors: availableParallelism(), model: cpus()[0]?.model, kernel: release()},
    versions: {
      node: process.version,
      sshfs: packageVersion('sshfs'),
      openssh: packageVersion('openssh-server'),
    },
    busyShare: busy,
    sessions,
    runs,
    rows: results.map(({row: {id, title, unit}, delayMs, samples}) => ({
      ...{id, title, unit, delayMs},
      samples: Object.fromEntries(samples),
    })),
  };
  mkdirSync(flags.output, {recursive: true});
  writeFileSync(join(flags.output, 'files.json'), `${JSON.stringify(json, null, 2)}\n`);
}

async function bench(): Promise<void> {
  for (const [name, count] of Object.entries({sessions, runs})) {
    if (!(Number.isInteger(count) && count >= 1)) {
      throw new BenchError(`--${name} is a number above 0`);
    }
  }
  if (!delays.every((each) => each >= 0)) throw new BenchError('--delays are round trips, ms');
  const wanted = chosen(rows, flags.only);
  needProgram('sshfs', 'sshfs');
  needProgram(sshd, 'openssh-server');
  using person = await becomePerson();
  const {directory} = person;
  const probe = compile(probeSource, join(directory, 'probe'));
  const tools = {person, probe, link: compileLink(directory)};
  const busy = await busyShare();
  let results: Result[] = [];
  for (const delayMs of delays) {
    for (let session = 0; session < sessions; session++) {
      results = together([...results, ...(await measureAt(tools, delayMs, wanted))]);
      write(results, busy);
    }
  }
  console.log(report(results));
}

await run(bench);
