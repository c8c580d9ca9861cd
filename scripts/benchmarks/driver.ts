/** What all measurements of scripts/bench have around them. */

import {BenchError} from './network/error.ts';

/** Tells the person something beside the results. */
export function say(text: string): void {
  process.stderr.write(`bench: ${text}\n`);
}

/** Tells when the machine has something else to do. `busy`: its share of the processors. */
export function sayIfBusy(busy: number): void {
  if (busy <= 0.1) return;
  say(`something else uses ${Math.round(busy * 100)} % of the processors: only ratios tell`);
}

/**
 * What `--only` wants of all there is: by ids, or by groups where there are some. Throws a BenchError for a name that is neither,
 * which tells those that there are.
 */
export function chosen<Item extends {readonly id: string; readonly group?: string}>(
  all: readonly Item[],
  only: string | undefined,
): readonly Item[] {
  if (only === undefined) return all;
  const names = only.split(',');
  const namesOf = ({id, group = id}: Item): string[] => [group, id];
  const known = new Set(all.flatMap(namesOf));
  const unknown = names.find((name) => !known.has(name));
  if (unknown !== undefined)
    throw new BenchError(`--only ${unknown}? There are: ${[...known].join(', ')}`);
  return all.filter((item) => namesOf(item).some((name) => names.includes(name)));
}

/** Runs a measurement; a failure that a person can understand is told without a stack. */
export async function run(bench: () => Promise<void>): Promise<void> {
  try {
    await bench();
  } catch (error) {
    if (!(error instanceof BenchError)) throw error;
    say(error.message);
    process.exitCode = 1;
  }
}
