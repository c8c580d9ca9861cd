/** What we aim at, row by row, and whether it holds. */

import type {ContenderName} from './contenders.ts';

/** The medians of a row by contender; one that was not measured is missing. */
export type Medians = ReadonlyMap<ContenderName, number>;

export interface Verdict {
  readonly aim: string;
  /** What came out, in the aim's own terms; undefined where something was not measured. */
  readonly actual: number | undefined;
  readonly holds: boolean | undefined;
}

interface Aim {
  readonly text: string;
  actual(medians: Medians): number | undefined;
  holds(actual: number): boolean;
}

const slirp = ['slirp4netns, MTU 1500', 'slirp4netns, MTU 65520'] as const;
const pasta = ['pasta, MTU 1500', 'pasta, MTU 65520'] as const;

/** The best of some contenders; undefined unless all were measured. */
function best(
  medians: Medians,
  names: readonly ContenderName[],
  pick: (...values: number[]) => number,
): number | undefined {
  const values = names.flatMap((name) => medians.get(name) ?? []);
  return values.length === names.length ? pick(...values) : undefined;
}

/** How many times the one is of the other. */
function ratio(one: number | undefined, other: number | undefined): number | undefined {
  return one === undefined || other === undefined ? undefined : one / other;
}

/** An aim at a multiple of the best of some contenders. */
function timesBest(
  name: ContenderName,
  others: readonly ContenderName[],
  {least, most, text}: {least?: number; most?: number; text: string},
): Aim {
  const pick = most === undefined ? Math.max : Math.min;
  return {
    text,
    actual: (medians) => ratio(medians.get(name), best(medians, others, pick)),
    holds: (actual) => actual >= (least ?? 0) && actual <= (most ?? Number.POSITIVE_INFINITY),
  };
}

const bulk = [
  timesBest('mirrord', [...slirp, ...pasta], {least: 1, text: '≥ 1 × the better peer'}),
  timesBest('mirrord', ['loopback'], {least: 0.35, text: '≥ 0.35 × loopback'}),
  timesBest('mirrord, local', [...slirp, ...pasta], {
    least: 1.5,
    text: 'local: ≥ 1.5 × the better peer',
  }),
];

const aims: Readonly<Record<string, readonly Aim[]>> = {
  bulk,
  rtt: [
    timesBest('mirrord', slirp, {most: 1.2, text: '≤ 1.2 × slirp4netns'}),
    timesBest('mirrord, local', slirp, {most: 0.9, text: 'local: ≤ 0.9 × slirp4netns'}),
  ],
};

/** Judges a row of a group by its medians. */
export function judge(group: string, medians: Medians): Verdict[] {
  return (aims[group] ?? []).map((aim) => {
    const actual = aim.actual(medians);
    return {aim: aim.text, actual, holds: actual === undefined ? undefined : aim.holds(actual)};
  });
}
