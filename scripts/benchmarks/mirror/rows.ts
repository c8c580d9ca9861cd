/** What is measured of mirrored pods: bytes, round trips, connections, and requests. */

import {type Load, loads, measure as measureRequests} from '../incoming/load.ts';
import type {Person} from '../network/person.ts';
import {cpuSeconds} from '../network/usage.ts';
import {type Pod, type PodName, podNames, unfilteredNames} from './pods.ts';

const host = '127.0.0.1';
const warmUpMs = 200;
/** Of short connections. */
const atOnce = 8;

export interface Sample {
  readonly value: number;
  /** Of the agent: the share of a processor; of requests, µs for each. */
  readonly cpu: number;
  /** Of requests: the share that the program had a copy of. */
  readonly copied?: number;
}

export interface Row {
  readonly id: string;
  readonly title: string;
  readonly digits: number;
  readonly cpuTitle: string;
  readonly cpuDigits: number;
  readonly pods: readonly PodName[];
  measure(name: PodName, pod: Pod, seconds: number): Promise<Sample>;
}

type Ask = (pod: Pod, durationMs: number) => Promise<number>;

/** A row of the load generator's. */
function loadRow(id: string, title: string, digits: number, ask: Ask): Row {
  return {
    ...{id, title, digits},
    ...{cpuTitle: '– processors of the agent', cpuDigits: 2},
    pods: unfilteredNames,
    async measure(_name, pod, seconds) {
      const before = cpuSeconds(pod.proxies);
      const value = await ask(pod, seconds * 1_000);
      return {value, cpu: (cpuSeconds(pod.proxies) - before) / (seconds + warmUpMs / 1_000)};
    },
  };
}

function bulkRow(direction: 'up' | 'down'): Row {
  return loadRow(direction, `one connection ${direction}, Gbit/s`, 1, async (pod, durationMs) => {
    const command = ['bulk', direction, host, pod.ports.bulk, 1, warmUpMs, durationMs];
    const {bytes, seconds} = await pod.load.ask<{bytes: number; seconds: number}>(
      command.join(' '),
    );
    return (bytes * 8) / seconds / 1e9;
  });
}

const roundTrips = loadRow(
  'rtt',
  'round trip of a byte, median, µs',
  0,
  async (pod, durationMs) => {
    const command = ['rtt', host, pod.ports.echo, warmUpMs, durationMs];
    return (await pod.load.ask<{medianUs: number}>(command.join(' '))).medianUs;
  },
);

const connectionsTitle = `new connections a second, ${atOnce} at a time`;
const connections = loadRow('connections', connectionsTitle, 0, async (pod, durationMs) => {
  const command = ['connections', host, pod.ports.short, atOnce, warmUpMs, durationMs];
  const answer = await pod.load.ask<{connections: number; seconds: number}>(command.join(' '));
  return answer.connections / answer.seconds;
});

/** As often as a proxy in the pod makes them: in the order of the others, since the mesh comes with the first of these. */
const meshTitle = `through a mesh’s proxy, ${atOnce} at a time`;
const throughMesh = loadRow(
  'mesh',
  `new connections a second ${meshTitle}`,
  0,
  async (pod, durationMs) => {
    const {host, client} = await pod.mesh();
    const command = ['connections', host, pod.ports.short, atOnce, warmUpMs, durationMs];
    const answer = await client.ask<{connections: number; seconds: number}>(command.join(' '));
    return answer.connections / answer.seconds;
  },
);

function requestsRow(person: Person, load: Load): Row {
  return {
    id: load.id,
    title: `requests a second: ${load.title}`,
    digits: 0,
    cpuTitle: '– processor time of the agent for one, µs',
    cpuDigits: 0,
    pods: podNames,
    async measure(name, pod, seconds) {
      const before = await pod.copied();
      const sample = await measureRequests(person, load, {name, pod, seconds});
      const copied = ((await pod.copied()) - before) / sample.requests;
      return {value: sample.perSecond, cpu: sample.cpuMicros, copied};
    },
  };
}

/** All rows. */
export function rowsFor(person: Person): readonly Row[] {
  const ofNginx = loads.filter(({id}) => ['http1', 'http1-one', 'h2c'].includes(id));
  const ofBytes = [bulkRow('up'), bulkRow('down'), roundTrips, connections];
  return [...ofBytes, ...ofNginx.map((load) => requestsRow(person, load)), throughMesh];
}
