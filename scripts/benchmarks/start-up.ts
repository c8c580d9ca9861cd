/**
 * Measures what the start of a program on a cluster is made of, by mirrord's debug log: the phases
 * between its events, each from the one before.
 */

import {spawn} from 'node:child_process';
import {once} from 'node:events';
import type {ClusterUser} from '../lib/cluster-user.ts';

/** The phases in their order, what ends them (an event of the log), and what they are. */
export const phases = [
  ['load', 'start: configured', 'Node starts, the configuration is read'],
  ['resolve', 'start: target found', 'the kubeconfig is read, the target becomes a pod'],
  ['create', 'start: agent created', "the API server has the agent's Job or container"],
  ['schedule', 'start: agent scheduled', 'the Job has a pod, the pod a node'],
  ['run', 'start: agent runs', 'its container runs'],
  ['ready', 'start: agent answers', 'the agent answers through the port-forward'],
  ['connected', 'start: connected', 'the tunnel is up, the target described'],
  ['program', 'start: program runs', 'sandbox, netstack; the program is started'],
  ['first byte', 'first byte', '`curl http://orders/` prints'],
] as const;

export type Phase = (typeof phases)[number][0];

/** How long each phase took, ms; a phase that there wasn't is missing. */
export type StartUp = Partial<Record<Phase | 'total', number>>;

/** Times of the log's events, ms since 1970. */
function eventTimes(log: string): Map<string, number> {
  const times = new Map<string, number>();
  for (const line of log.split('\n').filter((each) => each.startsWith('{'))) {
    const {time, event} = JSON.parse(line) as {time: string; event: string};
    if (!times.has(event)) times.set(event, Date.parse(time));
  }
  return times;
}

/** Runs a program once. Throws an error with what it said unless its status is 0. */
export async function measureStart(
  {prefix, variables}: ClusterUser,
  flags: readonly string[],
): Promise<StartUp> {
  const mirrord = ['bin/mirrord', 'exec', '-t', 'deployment/gateway', '-n', 'demo', ...flags];
  const [file = '', ...args] = [...prefix, ...mirrord, '--', 'curl', '-sS', 'http://orders/'];
  const begin = Date.now();
  const child = spawn(file, args, {
    env: {...process.env, ...variables, MIRRORD_LOG: 'debug'},
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let log = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    log += text;
  });
  let firstByte: number | undefined;
  child.stdout.once('data', () => {
    firstByte = Date.now();
  });
  child.stdout.resume();
  const [status] = (await once(child, 'close')) as [number | null];
  if (status !== 0 || firstByte === undefined)
    throw new Error(`mirrord ended with ${status}: ${log}`);
  const times = eventTimes(log).set('first byte', firstByte);
  const result: StartUp = {total: firstByte - begin};
  let last = begin;
  for (const [phase, event] of phases) {
    const time = times.get(event);
    if (time === undefined) continue;
    // The pod may be seen to run before the answer to its creation has come.
    result[phase] = Math.max(0, time - last);
    last = Math.max(last, time);
  }
  return result;
}
