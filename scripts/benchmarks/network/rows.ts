/** What is measured, and how: one row of the table each. */

import type {Contender, ContenderName} from './contenders.ts';
import {contenderNames} from './contenders.ts';
import {cpuSeconds} from './usage.ts';

/** What one run of a row gave: the value that counts, in the row's unit, and others by name. */
export type Sample = {value: number} & Record<string, number>;

export interface Timing {
  /** Of what counts, ms. */
  durationMs: number;
  /** Before it, so that compilers and windows have found their size, ms. */
  warmUpMs: number;
}

export interface Row {
  readonly id: string;
  readonly group: string;
  readonly title: string;
  readonly unit: string;
  readonly digits: number;
  readonly isLessBetter: boolean;
  readonly contenders: readonly ContenderName[];
  measure(contender: Contender, timing: Timing): Promise<Sample>;
}

type Direction = 'up' | 'down';

interface BulkAnswer {
  bytes: number;
  allBytes: number;
  leastBytes: number;
  seconds: number;
}

interface TripsAnswer {
  trips: number;
  medianUs: number;
  p99Us: number;
  maxUs: number;
}

const words = (...values: readonly (string | number)[]): string => values.join(' ');

function bulkRow(direction: Direction, flows: number): Row {
  return {
    id: `bulk-${direction}-${flows}`,
    group: 'bulk',
    title: `bulk TCP ${direction}, ${flows} ${flows === 1 ? 'flow' : 'flows'}`,
    unit: 'Gbit/s',
    digits: 2,
    isLessBetter: false,
    contenders: contenderNames,
    async measure({load, host, ports, carriers}, {durationMs, warmUpMs}) {
      const cpuBefore = cpuSeconds(carriers);
      const answer = await load.ask<BulkAnswer>(
        words('bulk', direction, host, ports.bulk, flows, warmUpMs, durationMs),
      );
      const cpu = cpuSeconds(carriers) - cpuBefore;
      return {
        value: (answer.bytes * 8) / answer.seconds / 1e9,
        cpuSecondsPerGb: cpu / (answer.allBytes / 1e9),
        leastFlowShare: (answer.leastBytes * flows) / answer.bytes,
      };
    },
  };
}

const roundTrips: Row = {
  id: 'rtt',
  group: 'rtt',
  title: 'round trip of a byte, median',
  unit: 'µs',
  digits: 0,
  isLessBetter: true,
  contenders: contenderNames,
  async measure({load, host, ports}, {durationMs, warmUpMs}) {
    const answer = await load.ask<TripsAnswer>(
      words('rtt', host, ports.echo, warmUpMs, durationMs),
    );
    return {value: answer.medianUs, p99Us: answer.p99Us, maxUs: answer.maxUs, trips: answer.trips};
  },
};

const directions: readonly Direction[] = ['up', 'down'];

/** All rows, in the order of the table. */
export const rows: readonly Row[] = [
  ...[1, 8, 100].flatMap((flows) => directions.map((direction) => bulkRow(direction, flows))),
  roundTrips,
];
