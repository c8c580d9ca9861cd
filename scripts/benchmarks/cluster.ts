/**
 * `scripts/bench cluster`: start-up by phase, throughput and round trips on the test cluster, beside `kubectl
 * port-forward`. What is compared is measured in turns, so that a disturbance hits all alike; medians count.
 */

import {readFileSync, writeFileSync} from 'node:fs';
import {availableParallelism, loadavg} from 'node:os';
import {fileURLToPath} from 'node:url';
import {parseArgs} from 'node:util';
import {ClusterError} from '../../test/cluster/node/process.ts';
import {giveAgentImage} from '../../test/helpers/agent-image.ts';
import {TestCluster} from '../../test/helpers/cluster.ts';
import {type ClusterUser, clusterUser} from '../lib/cluster-user.ts';
import {measureStart, type Phase, phases, type StartUp} from './start-up.ts';
import {median, table} from './values.ts';
import {namespace, roundTrips, throughput, type WayName, wayNames, waysTo} from './ways.ts';

const pods = new URL('cluster.yaml', import.meta.url);
const peer = fileURLToPath(new URL('peer.ts', import.meta.url));
const tripCount = 2000;
/** Above it, something else runs. */
const quietLoad = 0.5;
const kinds = {'a Job': [], 'an ephemeral container': ['-e']} as const;
type Kind = keyof typeof kinds;
const kindNames = Object.keys(kinds) as Kind[];

/** One run over one way. */
interface Transport {
  /** Mbit/s */
  up: number;
  down: number;
  rttMs: number;
  rttP99Ms: number;
}

const {values: flags} = parseArgs({
  options: {
    runs: {type: 'string', default: '5'},
    mebibytes: {type: 'string', default: '512'},
    output: {type: 'string'},
  },
});
const runs = Number(flags.runs);
const bytes = Number(flags.mebibytes) * 1024 ** 2;

function say(text: string): void {
  process.stderr.write(`bench: ${text}\n`);
}

/** An agent of the run before would still be at work. */
async function agentsGone(cluster: TestCluster): Promise<void> {
  const wait = ['wait', '-A', '--for=delete', '--timeout=60s', 'pod', '-l', 'app=mirrord'];
  await cluster.kubectl(wait);
}

async function startUps(cluster: TestCluster, user: ClusterUser): Promise<Record<Kind, StartUp[]>> {
  const results: Record<Kind, StartUp[]> = {'a Job': [], 'an ephemeral container': []};
  // The first of each kind warms the caches.
  for (let run = 0; run <= runs; run += 1) {
    for (const kind of kindNames) {
      await agentsGone(cluster);
      const result = await measureStart(user, kinds[kind]);
      if (run > 0) results[kind].push(result);
      say(`start ${run}/${runs} by ${kind}: ${JSON.stringify(result)}`);
    }
  }
  return results;
}

/** Starts server and client; returns the server's address. */
async function openPods(cluster: TestCluster): Promise<string> {
  const inNamespace = ['-n', namespace];
  await cluster.kubectl(['create', 'namespace', namespace]);
  await cluster.kubectl([...inNamespace, 'create', 'configmap', 'peer', `--from-file=${peer}`]);
  await cluster.apply(readFileSync(pods, 'utf8'));
  const wait = ['wait', '--for=condition=Ready', '--timeout=60s', 'pod/server', 'pod/client'];
  await cluster.kubectl([...inNamespace, ...wait]);
  return (await cluster.get(...inNamespace, 'pod', 'server')).status.podIP;
}

async function transports(
  cluster: TestCluster,
  user: ClusterUser,
): Promise<Record<WayName, Transport[]>> {
  const ways = waysTo(await openPods(cluster), user);
  const results: Record<WayName, Transport[]> = {
    mirrord: [],
    'kubectl port-forward': [],
    'pod to pod': [],
  };
  for (let run = 1; run <= runs; run += 1) {
    for (const name of wayNames) {
      await agentsGone(cluster);
      const way = ways[name];
      const up = await throughput(way, 'up', bytes);
      const down = await throughput(way, 'down', bytes);
      const trips = await roundTrips(way, tripCount);
      const result = {up, down, rttMs: trips.medianMs, rttP99Ms: trips.p99Ms};
      results[name].push(result);
      say(`transport ${run}/${runs} by ${name}: ${JSON.stringify(result)}`);
    }
  }
  return results;
}

function startTable(results: Record<Kind, StartUp[]>): string {
  const of = (kind: Kind, phase: Phase | 'total'): string => {
    const values = results[kind].flatMap((each) => each[phase] ?? []);
    return values.length === 0 ? '–' : String(Math.round(median(values)));
  };
  return table([
    ['ms', ...kindNames, 'until'],
    ...phases.map(([phase, , what]) => [phase, ...kindNames.map((kind) => of(kind, phase)), what]),
    ['**in all**', ...kindNames.map((kind) => `**${of(kind, 'total')}**`), ''],
  ]);
}

function transportTable(results: Record<WayName, Transport[]>): string {
  const of = (name: WayName, what: keyof Transport, digits: number): string =>
    median(results[name].map((each) => each[what])).toFixed(digits);
  return table([
    ['', ...wayNames],
    ['up, Mbit/s', ...wayNames.map((name) => of(name, 'up', 0))],
    ['down, Mbit/s', ...wayNames.map((name) => of(name, 'down', 0))],
    ['round trip, median, ms', ...wayNames.map((name) => of(name, 'rttMs', 2))],
    ['round trip, p99, ms', ...wayNames.map((name) => of(name, 'rttP99Ms', 2))],
  ]);
}

async function bench(): Promise<void> {
  if (!(runs > 0 && bytes > 0)) throw new ClusterError('--runs and --mebibytes are numbers from 1');
  const load = loadavg()[0] ?? 0;
  const cluster = new TestCluster();
  await cluster.up();
  const user = clusterUser(await giveAgentImage(cluster));
  await cluster.useDemo();
  if (load > quietLoad) say(`something else runs (load ${load.toFixed(1)}): only ratios tell`);
  try {
    const start = await startUps(cluster, user);
    const transport = await transports(cluster, user);
    console.log(`Medians of ${runs} runs, ${availableParallelism()} processors.\n`);
    console.log(`${startTable(start)}\n\n${transportTable(transport)}`);
    const all = {processors: availableParallelism(), node: process.version, load, start, transport};
    if (flags.output !== undefined)
      writeFileSync(flags.output, `${JSON.stringify(all, null, 2)}\n`);
  } finally {
    await cluster.kubectl(['delete', 'namespace', namespace, '--ignore-not-found']);
  }
}

try {
  await bench();
} catch (error) {
  if (!(error instanceof ClusterError)) throw error;
  say(error.message);
  process.exitCode = 1;
}
