/**
 * `scripts/bench local`: what one does in the working directory, which is this machine's, inside of `mirrord exec` beside the same
 * outside: a build must not be slower for it. Both take turns in each run; medians count.
 */

import {chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {parseArgs} from 'node:util';
import {ordinaryUser, runAsUser} from '../../test/helpers/user.ts';
import {chosen, run, say} from './driver.ts';
import {BenchError} from './network/error.ts';
import {compile} from './network/far-end.ts';
import {becomePerson, mirrordPath} from './network/person.ts';
import {Processes, pidOf} from './network/processes.ts';
import {busyShare} from './network/usage.ts';
import {median, table} from './values.ts';

const probeSource = fileURLToPath(new URL('files/probe.c', import.meta.url));
/** Slower by no more than this. */
const limit = 1.05;

const {values: flags} = parseArgs({
  options: {
    runs: {type: 'string', default: '7'},
    only: {type: 'string'},
    output: {type: 'string', default: 'bench-results'},
  },
});
const runs = Number(flags.runs);

interface Row {
  readonly id: string;
  readonly title: string;
  /** Shell commands, in the directory: what is done once, before each time, and timed. */
  readonly once: string;
  readonly before?: string;
  readonly command: string;
  /** What the commands need; where it is missing, so is the row. */
  readonly program?: string;
}

/** Nothing is fetched, and nobody is asked about it. */
const npm = 'npm --offline --ignore-scripts --no-audit --no-fund --loglevel=error --cache ../cache';

const rows: readonly Row[] = [
  {
    id: 'git',
    title: 'git status in 30,000 files',
    once: `mkdir git && cd git && git init -q && seq 30000 | while read n; do
      [ $((n % 100)) = 1 ] && d=d$n && mkdir $d; echo $n > $d/$n; done && git add -A`,
    command: 'cd git && for n in 1 2 3; do touch d1/1 && git status --short | wc -l; done',
  },
  {
    id: 'tar',
    title: 'tar x of 10,000 files',
    once: `mkdir many && (cd many && seq 10000 | while read n; do head -c 2000 /dev/zero > $n; done) &&
      tar cf many.tar many`,
    before: 'rm -rf out',
    command: 'mkdir out && tar xf many.tar -C out',
  },
  {
    id: 'cc',
    title: 'make of 60 C files, two at a time',
    once: `mkdir c && cd c && seq 60 | while read n; do
      printf '#include <stdio.h>\\n#include <stdlib.h>\\nint f%s(void){return puts("x");}\\n' $n > $n.c; done &&
      printf 'all: $(patsubst %%.c,%%.o,$(wildcard *.c))\\n' > Makefile`,
    before: 'rm -f c/*.o',
    command: 'make -s -j2 -C c',
  },
  {
    id: 'grep',
    title: 'grep -r in 10,000 files',
    once: 'mkdir text && cd text && seq 10000 | while read n; do head -c 2000 /dev/zero > $n; done',
    command: 'for n in 1 2 3 4 5; do grep -rq nothing text; [ $? = 1 ] || exit 2; done',
  },
  {
    id: 'npm',
    title: 'npm ci of 40 packages of 50 files',
    once: `mkdir -p npm/package && cd npm && seq 50 | while read n; do head -c 3000 /dev/zero > package/$n.js; done &&
      seq 40 | while read n; do
        printf '{"name":"p%s","version":"1.0.0"}' $n > package/package.json && tar czf p$n.tgz package
      done &&
      { printf '{"name":"all","version":"1.0.0","dependencies":{'; seq 40 | while read n; do
        [ $n = 1 ] || printf ,; printf '"p%s":"file:p%s.tgz"' $n $n; done; printf '}}'; } > package.json &&
      ${npm} install --package-lock-only`,
    command: `cd npm && ${npm} ci`,
    program: 'npm',
  },
  {
    id: 'cargo',
    title: 'cargo build of 3,000 modules',
    once: `cargo new -q --vcs none rust && cd rust/src && seq 3000 | while read n; do
      echo "mod m$n;" >> main.rs; printf 'pub fn f(x: u64) -> String { format!("{} {x:?}", %s) }\\n' $n > m$n.rs; done`,
    before: 'rm -rf rust/target',
    command: 'cd rust && cargo build -q --offline',
    program: 'cargo',
  },
];

/** A command whose words the probe takes apart: a script in a file. */
class Scripts {
  readonly #directory: string;
  readonly #work: string;
  #count = 0;

  constructor(directory: string, work: string) {
    this.#directory = directory;
    this.#work = work;
  }

  /** Returns what the probe is to run. */
  add(text: string): string {
    this.#count += 1;
    const path = join(this.#directory, `script-${this.#count}`);
    writeFileSync(path, `cd ${this.#work} || exit\n${text}\n`, {mode: 0o644});
    return `run sh ${path}`;
  }
}

/** A directory in memory, so that no disk is measured. */
function openWork(): {path: string} & Disposable {
  const path = mkdtempSync('/dev/shm/mirrord-bench-');
  const {uid, gid} = ordinaryUser();
  chownSync(path, uid, gid);
  return {path, [Symbol.dispose]: () => rmSync(path, {recursive: true, force: true})};
}

/** Whether an ordinary user has a program. */
async function isThere(program: string): Promise<boolean> {
  return (await runAsUser(['sh', '-c', `command -v ${program}`])).status === 0;
}

interface Result {
  readonly row: Row;
  readonly outside: number[];
  readonly inside: number[];
}

async function bench(): Promise<void> {
  if (!(Number.isInteger(runs) && runs >= 1)) throw new BenchError('--runs is a number above 0');
  const wanted = chosen(rows, flags.only);
  using person = await becomePerson();
  using directory = openWork();
  const work = directory.path;
  const scripts = new Scripts(person.directory, work);
  const probe = compile(probeSource, join(person.directory, 'probe'));
  await using processes = new Processes(person);
  const target = processes.start('target', ['cat']);
  const nothing = 'run true';
  const inDirectory = ['env', '-C', work];
  const outside = await processes.startClient('outside', [...inDirectory, probe], nothing);
  const exec = ['exec', '-t', `process/${pidOf(target)}`, '--fs-mode', 'read', '--', probe];
  const inside = await processes.startClient(
    'inside',
    [...inDirectory, mirrordPath, ...exec],
    nothing,
  );
  const busy = await busyShare();
  const ask = async (where: typeof outside, command: string): Promise<number> => {
    const {seconds, error} = await where.ask<{seconds: number; error?: string}>(command);
    if (error !== undefined) throw new BenchError(`${command}: ${error}`);
    return seconds;
  };
  const results: Result[] = [];
  for (const row of wanted) {
    if (row.program !== undefined && !(await isThere(row.program))) {
      say(`${row.id}: left out, there is no ${row.program} for this user`);
      continue;
    }
    await ask(outside, scripts.add(row.once));
    const before = scripts.add(row.before ?? 'true');
    const command = scripts.add(row.command);
    const result: Result = {row, outside: [], inside: []};
    // The first run of each warms the caches, and does not count.
    for (let run = 0; run <= runs; run += 1) {
      const both = [
        [outside, result.outside],
        [inside, result.inside],
      ] as const;
      for (const [where, samples] of run % 2 === 0 ? both : both.toReversed()) {
        await ask(outside, before);
        const seconds = await ask(where, command);
        if (run > 0) samples.push(seconds);
      }
    }
    say(`${row.id}: ${median(result.outside).toFixed(3)} s, ${median(result.inside).toFixed(3)} s`);
    results.push(result);
  }
  console.log(report(results));
  write(results, busy);
}

function report(results: readonly Result[]): string {
  const lines = results.map(({row, outside, inside}) => {
    const ratio = median(inside) / median(outside);
    const least = Math.min(...inside) / Math.min(...outside);
    return [
      `${row.title}, s`,
      median(outside).toFixed(3),
      median(inside).toFixed(3),
      ratio <= limit ? ratio.toFixed(3) : `**${ratio.toFixed(3)}**`,
      least.toFixed(3),
    ];
  });
  return table([['', 'outside', 'inside', 'inside : outside', 'of the fastest'], ...lines]);
}

function write(results: readonly Result[], busy: number): void {
  const json = {
    date: new Date().toISOString(),
    busyShare: busy,
    runs,
    rows: results.map(({row: {id, title}, ...samples}) => ({id, title, ...samples})),
  };
  mkdirSync(flags.output, {recursive: true});
  writeFileSync(join(flags.output, 'local.json'), `${JSON.stringify(json, null, 2)}\n`);
}

await run(bench);
