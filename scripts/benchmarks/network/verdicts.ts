/** What we aim at, row by row, and whether it holds. */

import type {ContenderName} from './contenders.ts';

/** The medians of one of a row's values by contender; one that was not measured is missing. */
export type Medians = ReadonlyMap<ContenderName, number>;
/** All of them, by the value's name in the samples. */
export type MediansOf = (what: string) => Medians;

export interface Verdict {
  readonly aim: string;
  /** What came out, in the aim's own terms; undefined where something was not measured. */
  readonly actual: number | undefined;
  readonly holds: boolean | undefined;
}

interface Aim {
  readonly text: string;
  actual(mediansOf: MediansOf): number | undefined;
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

function combine(
  one: number | undefined,
  other: number | undefined,
  how: (one: number, other: number) => number,
): number | undefined {
  return one === undefined || other === undefined ? undefined : how(one, other);
}

const ratio = (one: number, other: number): number => one / other;
const difference = (one: number, other: number): number => one - other;

/** An aim at so many times the best of others, or more. */
function atLeast(
  factor: number,
  others: readonly ContenderName[],
  {name = 'mirrord', text}: {name?: ContenderName; text: string},
): Aim {
  return {
    text,
    actual(mediansOf) {
      const medians = mediansOf('value');
      return combine(medians.get(name), best(medians, others, Math.max), ratio);
    },
    holds: (actual) => actual >= factor,
  };
}

/** An aim at so many times the best of others, or less. */
function atMost(
  factor: number,
  others: readonly ContenderName[],
  {name = 'mirrord', text}: {name?: ContenderName; text: string},
): Aim {
  return {
    text,
    actual(mediansOf) {
      const medians = mediansOf('value');
      return combine(medians.get(name), best(medians, others, Math.min), ratio);
    },
    holds: (actual) => actual <= factor,
  };
}

/** An aim at a value of mirrord's own. */
function limit(what: string, most: number, text: string): Aim {
  return {
    text,
    actual: (mediansOf) => mediansOf(what).get('mirrord'),
    holds: (actual) => actual <= most,
  };
}

const lossTolerancePoints = 0.1;

const aims: Readonly<Record<string, readonly Aim[]>> = {
  bulk: [
    atLeast(1, [...slirp, ...pasta], {text: '≥ 1 × the better peer'}),
    atLeast(0.35, ['loopback'], {text: '≥ 0.35 × loopback'}),
    atLeast(1.5, [...slirp, ...pasta], {
      name: 'mirrord, local',
      text: 'local: ≥ 1.5 × the better peer',
    }),
  ],
  rtt: [
    atMost(1.2, slirp, {text: '≤ 1.2 × slirp4netns'}),
    atMost(0.9, slirp, {name: 'mirrord, local', text: 'local: ≤ 0.9 × slirp4netns'}),
  ],
  loaded: [limit('value', 5, '≤ 5 ms')],
  connections: [
    atLeast(1, slirp, {text: '≥ 1 × slirp4netns'}),
    atLeast(1, pasta, {name: 'mirrord, local', text: 'local: ≥ 1 × pasta'}),
  ],
  udp: [
    atLeast(1, slirp, {text: '≥ 1 × slirp4netns'}),
    {
      text: 'loses no more than slirp4netns, percentage points',
      actual(mediansOf) {
        const lost = mediansOf('lostPercent');
        return combine(lost.get('mirrord'), best(lost, slirp, Math.min), difference);
      },
      holds: (actual) => actual <= lossTolerancePoints,
    },
  ],
  idle: [limit('value', 6, '≤ 6 KiB'), limit('bothMiB', 100, 'both: ≤ 100 MiB')],
  short: [limit('value', 1.1, 'flat: ≤ 1.1')],
  delay: [atLeast(0.9, ['kernel TCP'], {text: "≥ 0.9 × the kernel's TCP"})],
};

/** Judges a row of a group by its medians. */
export function judge(group: string, mediansOf: MediansOf): Verdict[] {
  return (aims[group] ?? []).map((aim) => {
    const actual = aim.actual(mediansOf);
    return {aim: aim.text, actual, holds: actual === undefined ? undefined : aim.holds(actual)};
  });
}
