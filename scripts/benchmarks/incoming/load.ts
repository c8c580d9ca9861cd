/** Requests, by wrk and h2load, in a pod's own network. */

import {readFileSync, rmSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {BenchError} from '../network/error.ts';
import type {Person} from '../network/person.ts';
import {cpuSeconds} from '../network/usage.ts';
import {quantile} from '../values.ts';
import {type Body, ports} from './nginx.ts';
import type {Pod} from './pods.ts';

const script = fileURLToPath(new URL('wrk.lua', import.meta.url));

/** A kind of load. */
export interface Load {
  readonly id: string;
  readonly title: string;
  readonly tool: 'wrk' | 'h2load';
  readonly port: number;
  readonly body: Body;
  readonly connections: number;
  /** Requests at a time in each. */
  readonly streams: number;
  /** Each connection is for one request. */
  readonly isClosing?: boolean;
}

export const loads: readonly Load[] = [
  {
    id: 'http1',
    title: 'HTTP/1.1, 64 B, 16 connections',
    tool: 'wrk',
    port: ports.http1,
    body: 'small',
    connections: 16,
    streams: 1,
  },
  {
    id: 'http1-one',
    title: 'HTTP/1.1, 64 B, 1 connection',
    tool: 'wrk',
    port: ports.http1,
    body: 'small',
    connections: 1,
    streams: 1,
  },
  {
    id: 'http1-large',
    title: 'HTTP/1.1, 64 KiB, 16 connections',
    tool: 'wrk',
    port: ports.http1,
    body: 'large',
    connections: 16,
    streams: 1,
  },
  {
    id: 'new',
    title: 'HTTP/1.1, 64 B, a new connection for each, 16 at a time',
    tool: 'wrk',
    port: ports.http1,
    body: 'small',
    connections: 16,
    streams: 1,
    isClosing: true,
  },
  {
    id: 'new-one',
    title: 'HTTP/1.1, 64 B, a new connection for each, one at a time',
    tool: 'wrk',
    port: ports.http1,
    body: 'small',
    connections: 1,
    streams: 1,
    isClosing: true,
  },
  {
    id: 'node',
    title: 'HTTP/1.1, 64 B of Node, 16 connections',
    tool: 'wrk',
    port: ports.node,
    body: 'small',
    connections: 16,
    streams: 1,
  },
  {
    id: 'node-one',
    title: 'HTTP/1.1, 64 B of Node, 1 connection',
    tool: 'wrk',
    port: ports.node,
    body: 'small',
    connections: 1,
    streams: 1,
  },
  {
    id: 'go',
    title: 'HTTP/1.1, 64 B of Go, 16 connections',
    tool: 'wrk',
    port: ports.go,
    body: 'small',
    connections: 16,
    streams: 1,
  },
  {
    id: 'go-one',
    title: 'HTTP/1.1, 64 B of Go, 1 connection',
    tool: 'wrk',
    port: ports.go,
    body: 'small',
    connections: 1,
    streams: 1,
  },
  {
    id: 'go-list',
    title: 'HTTP/1.1, a JSON list of Go, 16 connections',
    tool: 'wrk',
    port: ports.go,
    body: 'list',
    connections: 16,
    streams: 1,
  },
  {
    id: 'go-list-one',
    title: 'HTTP/1.1, a JSON list of Go, 1 connection',
    tool: 'wrk',
    port: ports.go,
    body: 'list',
    connections: 1,
    streams: 1,
  },
  {
    id: 'h2c',
    title: 'h2c, 64 B, 4 connections of 8 streams',
    tool: 'h2load',
    port: ports.h2c,
    body: 'small',
    connections: 4,
    streams: 8,
  },
  {
    id: 'h2c-large',
    title: 'h2c, 64 KiB, 4 connections of 8 streams',
    tool: 'h2load',
    port: ports.h2c,
    body: 'large',
    connections: 4,
    streams: 8,
  },
];

export interface Sample {
  readonly requests: number;
  readonly perSecond: number;
  readonly medianMs: number;
  readonly p99Ms: number;
  /** Of the agent, or of haproxy, for a request. */
  readonly cpuMicros: number;
}

interface Outcome {
  readonly requests: number;
  readonly seconds: number;
  readonly medianMs: number;
  readonly p99Ms: number;
  readonly failures: number;
}

/** The standard output of a program that runs to its end. */
async function output(person: Person, argv: readonly string[]): Promise<string> {
  const child = person.start(argv);
  let [said, complaint] = ['', ''];
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    complaint += text;
  });
  const status = await new Promise((resolve) => void child.once('close', resolve));
  if (status !== 0) throw new BenchError(`${argv.join(' ')} ended with ${status}: ${complaint}`);
  return said;
}

/** h2load tells no quantiles: they are made from its log, of a start, a status and a duration (µs) each. */
function readLog(file: string, seconds: number): Outcome {
  const durations: number[] = [];
  let failures = 0;
  for (const line of readFileSync(file, 'latin1').split('\n')) {
    const [, status, micros] = line.split('\t');
    if (status === undefined) continue;
    if (status !== '200') failures += 1;
    durations.push(Number(micros) / 1e3);
  }
  const [medianMs, p99Ms] = [quantile(durations, 0.5), quantile(durations, 0.99)];
  return {requests: durations.length, seconds, medianMs, p99Ms, failures};
}

/** Loads a pod for so long; throws a BenchError when a request fails. */
export async function measure(
  person: Person,
  load: Load,
  {name, pod, seconds}: {readonly name: string; readonly pod: Pod; readonly seconds: number},
): Promise<Sample> {
  const {port, body, connections, streams, isClosing = false} = load;
  const paths = name.endsWith('half fit') ? [`/mine/${body}`, `/${body}`] : [`/${body}`];
  const before = cpuSeconds(pod.proxies);
  let outcome: Outcome;
  if (load.tool === 'wrk') {
    const options = ['-t1', `-c${connections}`, `-d${seconds}`, '-s', script];
    if (isClosing) options.push('-H', 'Connection: close');
    const url = `http://127.0.0.1:${port}/`;
    const said = await output(person, [...pod.enter, 'wrk', ...options, url, '--', ...paths]);
    outcome = JSON.parse(said.trim().split('\n').at(-1) ?? '') as Outcome;
  } else {
    const log = join(person.directory, 'h2load.log');
    const options = [`-c${connections}`, `-m${streams}`, `-D${seconds}`, `--log-file=${log}`];
    const urls = paths.map((path) => `http://127.0.0.1:${port}${path}`);
    await output(person, [...pod.enter, 'h2load', ...options, ...urls]);
    outcome = readLog(log, seconds);
    rmSync(log);
  }
  const {requests, failures} = outcome;
  if (failures > 0 || requests === 0)
    throw new BenchError(`${load.title}, ${name}: ${failures} of ${requests} requests failed`);
  const cpuMicros = ((cpuSeconds(pod.proxies) - before) * 1e6) / requests;
  const {medianMs, p99Ms} = outcome;
  return {requests, perSecond: requests / outcome.seconds, medianMs, p99Ms, cpuMicros};
}
