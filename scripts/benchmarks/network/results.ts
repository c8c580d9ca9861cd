/** What was measured, as it is kept in a file, and what it comes to. */

import {readFileSync} from 'node:fs';
import {median} from '../values.ts';
import type {ContenderName} from './contenders.ts';
import type {Row, Sample} from './rows.ts';
import type {Medians} from './verdicts.ts';

/** A row's samples by contender; the rest is the row's own. */
export interface RowResult extends Pick<Row, 'id' | 'group' | 'title' | 'unit' | 'digits'> {
  readonly details?: Row['details'];
  readonly date: string;
  readonly runs: number;
  readonly durationMs: number;
  /** The share of the processors that others used right before. */
  readonly busyShare: number;
  readonly samples: Readonly<Partial<Record<ContenderName, readonly Sample[]>>>;
}

export interface Results {
  machine: {processors: number; model: string; kernel: string; congestionControl: string};
  /** Of Node and of the peers' Debian packages. */
  versions: Record<'node' | 'slirp4netns' | 'passt', string>;
  rows: RowResult[];
}

/** Above it, something else runs, and only ratios tell. */
const quietShare = 0.1;

/** Whether the machine had something else to do. */
export function isDisturbed(row: Pick<RowResult, 'busyShare'>): boolean {
  return row.busyShare > quietShare;
}

/** Medians of one of the values, by contender. */
export function mediansOf({samples}: RowResult, what = 'value'): Medians {
  const medians = new Map<ContenderName, number>();
  for (const [name, each] of Object.entries(samples)) {
    const values = each.flatMap((sample) => sample[what] ?? []);
    if (values.length > 0) medians.set(name as ContenderName, median(values));
  }
  return medians;
}

/** The rows of a file that there may be. */
export function readRows(file: string): RowResult[] {
  try {
    return (JSON.parse(readFileSync(file, 'utf8')) as Results).rows;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}
