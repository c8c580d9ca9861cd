/** What becomes of the measurements: tables on the standard output, and files. */

import {mkdirSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {table} from '../values.ts';
import {chart} from './chart.ts';
import {type ContenderName, contenderNames} from './contenders.ts';
import {isDisturbed, mediansOf, type Results, type RowResult} from './results.ts';
import {judge, type Verdict} from './verdicts.ts';

/** The file with all values, in the directory of the results. */
export const resultsFile = 'network.json';

const columnOrder: readonly ContenderName[] = ['kernel TCP', ...contenderNames];

function verdictsOf(result: RowResult): Verdict[] {
  return judge(result.group, (what) => mediansOf(result, what));
}

/** One table for rows with the same contenders. */
function valueTable(results: readonly RowResult[], names: readonly ContenderName[]): string {
  const line = (result: RowResult, title: string, what: string, digits: number): string[] => {
    const medians = mediansOf(result, what);
    return [title, ...names.map((name) => medians.get(name)?.toFixed(digits) ?? '–')];
  };
  return table([
    ['', ...names],
    ...results.flatMap((result) => [
      line(result, `${result.title}, ${result.unit}`, 'value', result.digits),
      ...(result.details ?? []).map(({what, title, digits}) =>
        line(result, `– ${title}`, what, digits),
      ),
    ]),
  ]);
}

/** The rows by their contenders, in the order in which they first come. */
function valueTables(results: readonly RowResult[]): string[] {
  const names = (result: RowResult): ContenderName[] =>
    columnOrder.filter((name) => result.samples[name] !== undefined);
  const byContenders = Map.groupBy(results, (result) => names(result).join('|'));
  return [...byContenders.values()].map(([first, ...others]) =>
    first === undefined ? '' : valueTable([first, ...others], names(first)),
  );
}

function verdictTable(results: readonly RowResult[]): string {
  return table([
    ['', 'aim', 'measured', 'holds'],
    ...results.flatMap((result) =>
      verdictsOf(result).map(({aim, actual, holds}) => [
        result.title,
        aim,
        actual?.toFixed(2) ?? '–',
        holds === undefined ? '–' : holds ? 'yes' : '**no**',
      ]),
    ),
  ]);
}

/** The tables, as Markdown. */
export function report({machine, versions, rows}: Results): string {
  const {processors, model, kernel, congestionControl} = machine;
  const runs = [...new Set(rows.map((row) => row.runs))].join(', ');
  const seconds = [...new Set(rows.map((row) => row.durationMs / 1000))].join(', ');
  const words = [
    `${processors} × ${model}, Linux ${kernel} (${congestionControl}), Node ${versions.node},`,
    `slirp4netns ${versions.slirp4netns}, passt ${versions.passt}.`,
    `Medians of ${runs} runs of ${seconds} s.`,
  ];
  const disturbed = rows.filter(isDisturbed).map(({id}) => id);
  if (disturbed.length > 0) words.push(`Something else ran: ${disturbed.join(', ')}.`);
  return [words.join('\n'), ...valueTables(rows), verdictTable(rows)].join('\n\n');
}

/** Writes the values and the chart into the directory. */
export function writeResults(results: Results, directory: string): void {
  const rows = results.rows.map((result) => ({
    ...result,
    medians: Object.fromEntries(mediansOf(result)),
    verdicts: verdictsOf(result),
  }));
  mkdirSync(directory, {recursive: true});
  const json = JSON.stringify({...results, rows}, null, 2);
  writeFileSync(join(directory, resultsFile), `${json}\n`);
  writeFileSync(join(directory, 'network.svg'), chart(results.rows));
}
