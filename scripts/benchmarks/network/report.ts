/** What becomes of the measurements: a table on the standard output, and files. */

import {mkdirSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {median, table} from '../values.ts';
import {type ContenderName, contenderNames} from './contenders.ts';
import type {Row, Sample} from './rows.ts';
import {judge, type Medians} from './verdicts.ts';

export interface RowResult {
  row: Pick<Row, 'id' | 'group' | 'title' | 'unit' | 'digits' | 'isLessBetter'>;
  samples: ReadonlyMap<ContenderName, readonly Sample[]>;
}

export interface Results {
  machine: {processors: number; model: string; kernel: string; node: string; load: number};
  date: string;
  runs: number;
  durationMs: number;
  warmUpMs: number;
  rows: RowResult[];
}

/** Medians of what counts, by contender. */
export function mediansOf({samples}: RowResult, what = 'value'): Medians {
  const pairs = [...samples].map(([name, each]) => {
    return [name, median(each.map((sample) => sample[what] ?? Number.NaN))] as const;
  });
  return new Map(pairs.filter(([, value]) => !Number.isNaN(value)));
}

function valueTable(results: readonly RowResult[]): string {
  const cells = (result: RowResult, what: string, digits: number): string[] => {
    const medians = mediansOf(result, what);
    return contenderNames.map((name) => medians.get(name)?.toFixed(digits) ?? '–');
  };
  return table([
    ['', ...contenderNames],
    ...results.flatMap((result) => {
      const {title, unit, digits, group} = result.row;
      const line = [`${title}, ${unit}`, ...cells(result, 'value', digits)];
      if (group !== 'bulk') return [line];
      return [line, ['– CPU s per GB', ...cells(result, 'cpuSecondsPerGb', 2)]];
    }),
  ]);
}

function verdictTable(results: readonly RowResult[]): string {
  return table([
    ['', 'aim', 'measured', 'holds'],
    ...results.flatMap((result) =>
      judge(result.row.group, mediansOf(result)).map(({aim, actual, holds}) => [
        result.row.title,
        aim,
        actual?.toFixed(2) ?? '–',
        holds === undefined ? '–' : holds ? 'yes' : '**no**',
      ]),
    ),
  ]);
}

/** The results as they go into a file. */
function toJson(results: Results): unknown {
  return {
    ...results,
    rows: results.rows.map((result) => ({
      ...result.row,
      medians: Object.fromEntries(mediansOf(result)),
      samples: Object.fromEntries(result.samples),
      verdicts: judge(result.row.group, mediansOf(result)),
    })),
  };
}

/** Prints the tables, and writes `network.json` into the directory. */
export function printReport(results: Results, directory: string): void {
  const {machine, runs, durationMs} = results;
  const {processors, model, kernel, node} = machine;
  console.log(`${processors} × ${model}, Linux ${kernel}, Node ${node}.`);
  console.log(`Medians of ${runs} runs of ${durationMs / 1000} s.\n`);
  console.log(`${valueTable(results.rows)}\n\n${verdictTable(results.rows)}`);
  mkdirSync(directory, {recursive: true});
  writeFileSync(join(directory, 'network.json'), `${JSON.stringify(toJson(results), null, 2)}\n`);
}
