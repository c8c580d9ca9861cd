/**
 * Ways from a client to a server in a pod, to compare: one TCP connection by mirrord, by kubectl port-forward, and
 * from a pod beside it.
 */

import {type ChildProcess, spawn} from 'node:child_process';
import {once} from 'node:events';
import {readFileSync} from 'node:fs';
import {fileURLToPath} from 'node:url';
import {inCluster, kubeconfigPath} from '../../test/cluster/node/place.ts';
import {output} from '../../test/cluster/node/process.ts';
import type {ClusterUser} from '../lib/cluster-user.ts';

export const wayNames = ['mirrord', 'kubectl port-forward', 'pod to pod'] as const;
export type WayName = (typeof wayNames)[number];

/** A program of this directory that connects with a port of the server's, and prints what it measured as JSON. */
export interface Client {
  program: 'bulk.ts' | 'ping-pong.ts';
  port: number;
  /** Behind host and port. */
  args: readonly string[];
}

/** Runs a client by one of the ways, and returns what it printed. */
export type Way = (client: Client) => Promise<string>;

/** Where server and client are. */
export const namespace = 'mirrord-bench';

const pathOf = (program: string): string => fileURLToPath(new URL(program, import.meta.url));
const kubectl = (): string => inCluster('tools/kubectl');
const asAdmin = (): NodeJS.ProcessEnv => ({...process.env, KUBECONFIG: kubeconfigPath()});

/** Throughput, Mbit/s. */
export async function throughput(
  way: Way,
  direction: 'up' | 'down',
  bytes: number,
): Promise<number> {
  const json = await way({program: 'bulk.ts', port: 5001, args: [direction, String(bytes)]});
  return (JSON.parse(json) as {mbps: number}).mbps;
}

/** Round trips of one byte, `count` of them. */
export async function roundTrips(
  way: Way,
  count: number,
): Promise<{medianMs: number; p99Ms: number}> {
  return JSON.parse(await way({program: 'ping-pong.ts', port: 7, args: [String(count)]}));
}

/** A port of this machine that leads to one of the server's. */
async function portForward(port: number): Promise<{port: number; child: ChildProcess}> {
  const args = ['-n', namespace, 'port-forward', 'pod/server', `:${port}`];
  const child = spawn(kubectl(), args, {env: asAdmin(), stdio: ['ignore', 'pipe', 'inherit']});
  let said = '';
  for await (const text of child.stdout.setEncoding('utf8').iterator({destroyOnReturn: false})) {
    said += text;
    const found = /127\.0\.0\.1:(\d+) ->/.exec(said)?.[1];
    if (found === undefined) continue;
    child.stdout.resume();
    return {port: Number(found), child};
  }
  throw new Error('kubectl port-forward has ended');
}

/** The ways to the server with this address. */
export function waysTo(server: string, user: ClusterUser): Record<WayName, Way> {
  const here = async (prefix: readonly string[], client: Client, host: string, port: number) => {
    const node = [process.execPath, pathOf(client.program), host, String(port), ...client.args];
    const [file = '', ...args] = [...user.prefix, ...prefix, ...node];
    return await output(file, args, {env: {...process.env, ...user.variables}});
  };
  // From the client's pod, not the server's: what goes to the pod's own address is not the netstack's.
  const exec = ['bin/mirrord', 'exec', '-t', 'pod/client', '-n', namespace, '--'];
  return {
    mirrord: async (client) => await here(exec, client, server, client.port),
    'kubectl port-forward': async (client) => {
      const {port, child} = await portForward(client.port);
      try {
        return await here([], client, '127.0.0.1', port);
      } finally {
        child.kill();
        if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
      }
    },
    'pod to pod': async ({program, port, args}) => {
      const node = ['node', '--disable-warning=ExperimentalWarning'];
      const script = ['--input-type=module-typescript', '-', server, String(port), ...args];
      const exec = ['-n', namespace, 'exec', '-i', 'client', '--', ...node, ...script];
      const input = readFileSync(pathOf(program), 'utf8');
      return await output(kubectl(), exec, {env: asAdmin(), input});
    },
  };
}
