/** What is measured, and how: one row of the table each, or a few for what one measurement gives. */

import {setTimeout as delay} from 'node:timers/promises';
import {type Contender, type ContenderName, contenderNames} from './contenders.ts';
import {cpuSeconds, residentBytes} from './usage.ts';

/** What one run of a row gave: the value that counts, in the row's unit, and others by name. */
export type Sample = {value: number} & Record<string, number>;

export interface Timing {
  /** Of what counts, ms. */
  durationMs: number;
  /** Before it, so that compilers and windows have found their size, ms. */
  warmUpMs: number;
  /** Short flows for the row that looks for leaks. */
  shortFlows: number;
}

/** One of a sample's values in the table. */
export interface Column {
  readonly what: string;
  readonly title: string;
  readonly digits: number;
}

export interface Row {
  readonly id: string;
  readonly group: string;
  readonly title: string;
  readonly unit: string;
  readonly digits: number;
  readonly details?: readonly Column[];
  readonly contenders: readonly ContenderName[];
  /** Round-trip time of the link between mirrord and the agent, where there is one, ms. */
  readonly roundTripMs?: number;
  /** Whether each run needs contenders that have done nothing before. */
  readonly isFresh?: true;
  measure(contender: Contender, timing: Timing): Promise<Sample>;
}

type Direction = 'up' | 'down';
const directions: readonly Direction[] = ['up', 'down'];

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

interface FlowsAnswer {
  connections: number;
  failed: number;
  seconds: number;
}

interface DatagramsAnswer {
  sent: number;
  received: number;
  receivedSeconds: number;
}

const words = (...values: readonly (string | number)[]): string => values.join(' ');
const gbps = ({bytes, seconds}: {bytes: number; seconds: number}): number =>
  (bytes * 8) / seconds / 1e9;

async function bulk(
  {load, host, ports, carriers}: Contender,
  {direction, flows, durationMs, warmUpMs}: Timing & {direction: Direction; flows: number},
): Promise<Sample> {
  const cpuBefore = cpuSeconds(carriers);
  const answer = await load.ask<BulkAnswer>(
    words('bulk', direction, host, ports.bulk, flows, warmUpMs, durationMs),
  );
  const cpu = cpuSeconds(carriers) - cpuBefore;
  return {
    value: gbps(answer),
    cpuSecondsPerGb: cpu / (answer.allBytes / 1e9),
    leastFlowShare: (answer.leastBytes * flows) / answer.bytes,
  };
}

function bulkRow(direction: Direction, flows: number): Row {
  return {
    id: `bulk-${direction}-${flows}`,
    group: 'bulk',
    title: `bulk TCP ${direction}, ${flows} ${flows === 1 ? 'flow' : 'flows'}`,
    unit: 'Gbit/s',
    digits: 2,
    details: [{what: 'cpuSecondsPerGb', title: 'CPU s per GB', digits: 2}],
    contenders: contenderNames,
    measure: async (contender, timing) => await bulk(contender, {...timing, direction, flows}),
  };
}

const roundTrips: Row = {
  id: 'rtt',
  group: 'rtt',
  title: 'round trip of a byte, median',
  unit: 'µs',
  digits: 0,
  details: [{what: 'p99Us', title: 'p99', digits: 0}],
  contenders: contenderNames,
  async measure({load, host, ports}, {durationMs, warmUpMs}) {
    const answer = await load.ask<TripsAnswer>(
      words('rtt', host, ports.echo, warmUpMs, durationMs),
    );
    return {value: answer.medianUs, p99Us: answer.p99Us, maxUs: answer.maxUs, trips: answer.trips};
  },
};

/** Flows that fill the way while round trips are measured. */
const loadingFlows = 8;

function loadedRow(direction: Direction): Row {
  return {
    id: `loaded-${direction}`,
    group: 'loaded',
    title: `the same beside ${loadingFlows} bulk flows ${direction}, p99`,
    unit: 'ms',
    digits: 2,
    details: [
      {what: 'medianMs', title: 'median', digits: 2},
      {what: 'gbps', title: 'Gbit/s of the flows', digits: 2},
    ],
    contenders: contenderNames,
    async measure({load, host, ports}, {durationMs, warmUpMs}) {
      const where = words(direction, host, ports.bulk, ports.echo);
      const answer = await load.ask<TripsAnswer & {bytes: number; seconds: number}>(
        words('loaded', where, loadingFlows, warmUpMs, durationMs),
      );
      return {
        value: answer.p99Us / 1000,
        medianMs: answer.medianUs / 1000,
        maxMs: answer.maxUs / 1000,
        gbps: gbps(answer),
      };
    },
  };
}

function connectionsRow(atOnce: number): Row {
  return {
    id: `connections-${atOnce}`,
    group: 'connections',
    title: `connect + 1 KiB + close, ${atOnce === 1 ? 'one' : atOnce} at a time`,
    unit: '1/s',
    digits: 0,
    details: [{what: 'failed', title: 'failed', digits: 0}],
    contenders: contenderNames,
    async measure({load, host, ports}, {durationMs, warmUpMs}) {
      const answer = await load.ask<FlowsAnswer>(
        words('connections', host, ports.short, atOnce, warmUpMs, durationMs),
      );
      return {value: answer.connections / answer.seconds, failed: answer.failed};
    },
  };
}

/** As many as go, counted where they arrive; then half of that rate, for what is lost. */
function datagramsRow(bytes: number): Row {
  return {
    id: `udp-${bytes}`,
    group: 'udp',
    title: `UDP up, ${bytes} B`,
    unit: '1000/s',
    digits: 1,
    details: [{what: 'lostPercent', title: '% lost at half of that', digits: 2}],
    contenders: contenderNames,
    async measure({load, host, ports}, {durationMs}) {
      const send = async (rate: number): Promise<DatagramsAnswer> =>
        await load.ask(words('udp', host, ports.udp, bytes, rate, durationMs));
      const flood = await send(0);
      const perSecond = flood.received / flood.receivedSeconds;
      const half = await send(Math.round(perSecond / 2));
      return {
        value: perSecond / 1000,
        sentPerSecond: flood.sent / (durationMs / 1000),
        lostPercent: (1 - half.received / half.sent) * 100,
      };
    },
  };
}

/** After what makes garbage, until memory is what it is, ms. */
const settleMs = 3000;
const warmingFlows = 1000;
const mebibyte = 1024 ** 2;
const soMany = new Intl.NumberFormat('en').format;

/** Resident memory of mirrord and of the agent, MiB. */
async function memory({carriers}: Contender): Promise<{mirrord: number; agent: number}> {
  await delay(settleMs);
  const [mirrord = 0, agent = 0] = carriers.map((pid) => residentBytes(pid) / mebibyte);
  return {mirrord, agent};
}

const idleFlows = 10_000;

const idle: Row = {
  id: 'idle',
  group: 'idle',
  title: `memory per idle flow of ${soMany(idleFlows)}, the larger process`,
  unit: 'KiB',
  digits: 2,
  details: [
    {what: 'mirrordKiB', title: 'mirrord, KiB per flow', digits: 2},
    {what: 'agentKiB', title: 'agent, KiB per flow', digits: 2},
    {what: 'bothMiB', title: 'growth of both, MiB', digits: 0},
  ],
  contenders: ['mirrord'],
  isFresh: true,
  async measure(contender) {
    const {load, host, ports} = contender;
    const keep = async (count: number): Promise<unknown> =>
      await load.ask(words('idle', host, ports.echo, count));
    await keep(warmingFlows);
    await keep(0);
    const before = await memory(contender);
    await keep(idleFlows);
    const after = await memory(contender);
    const grown = {mirrord: after.mirrord - before.mirrord, agent: after.agent - before.agent};
    const perFlow = (mebibytes: number): number => (mebibytes * 1024) / idleFlows;
    return {
      value: perFlow(Math.max(grown.mirrord, grown.agent)),
      mirrordKiB: perFlow(grown.mirrord),
      agentKiB: perFlow(grown.agent),
      bothMiB: grown.mirrord + grown.agent,
      mirrordMiB: after.mirrord,
      agentMiB: after.agent,
    };
  },
};

const shortStep = 10_000;

const short: Row = {
  id: 'short',
  group: 'short',
  title: 'memory after all short flows, by that after a tenth, the larger ratio',
  unit: '×',
  digits: 2,
  details: [
    {what: 'flows', title: 'flows', digits: 0},
    {what: 'mirrordMiB', title: 'mirrord, MiB', digits: 0},
    {what: 'agentMiB', title: 'agent, MiB', digits: 0},
  ],
  contenders: ['mirrord'],
  isFresh: true,
  async measure(contender, {shortFlows}) {
    const {load, host, ports} = contender;
    let failed = 0;
    const run = async (count: number): Promise<void> => {
      for (let left = count; left > 0; left -= shortStep) {
        const step = Math.min(left, shortStep);
        const answer = await load.ask<FlowsAnswer>(words('short', host, ports.short, 64, step));
        failed += answer.failed;
      }
    };
    const tenth = Math.ceil(shortFlows / 10);
    await run(tenth);
    const early = await memory(contender);
    await run(shortFlows - tenth);
    const late = await memory(contender);
    return {
      value: Math.max(late.mirrord / early.mirrord, late.agent / early.agent),
      flows: shortFlows,
      failed,
      mirrordMiB: late.mirrord,
      agentMiB: late.agent,
      mirrordEarlyMiB: early.mirrord,
      agentEarlyMiB: early.agent,
    };
  },
};

/** Slow start needs its round trips: this long, ms, unless what counts is a fraction of a second. */
const delayedWarmUpMs = 2000;

function delayedRow(direction: Direction, roundTripMs: number): Row {
  return {
    id: `delay-${roundTripMs}-${direction}`,
    group: 'delay',
    title: `bulk TCP ${direction}, 1 flow, ${roundTripMs} ms of delay`,
    unit: 'Gbit/s',
    digits: 2,
    contenders: ['kernel TCP', 'mirrord'],
    roundTripMs,
    async measure(contender, timing) {
      const warmUpMs = Math.min(delayedWarmUpMs, 4 * timing.durationMs);
      return await bulk(contender, {...timing, warmUpMs, direction, flows: 1});
    },
  };
}

/** All rows, in the order of the table. */
export const rows: readonly Row[] = [
  ...[1, 8, 100].flatMap((flows) => directions.map((direction) => bulkRow(direction, flows))),
  roundTrips,
  ...directions.map(loadedRow),
  ...[1, 64].map(connectionsRow),
  ...[64, 1200].map(datagramsRow),
  idle,
  short,
  ...[20, 80].flatMap((ms) => directions.map((direction) => delayedRow(direction, ms))),
];
