/**
 * The first stage of an agent in a cluster: finds the target, and becomes the second stage there.
 *
 * A process with threads can't enter namespaces as a whole, so this one executes the launcher, which
 * listens in the agent's own pod, enters the target's network and UTS namespaces, and executes Node
 * again, with the sockets inherited, as a child of its own: what stops the container stops the agent, and what outlives
 * the agent has the container for as long as it needs it (layer/native/first-process.c).
 * An agent that is at home already (an ephemeral container, or without a target) goes the same way,
 * to itself.
 */

import {arch, machine} from 'node:os';
import {fileURLToPath} from 'node:url';
import type {LocateOptions} from '../options.ts';
import {findContainerProcess} from './find-container.ts';

/** The target's container has no process here. */
export class TargetMissingError extends Error {
  readonly code = 'MIRRORD_AGENT_TARGET_MISSING';

  constructor(containerId: string) {
    super(`container ${containerId} has no process on this node`);
    this.name = 'TargetMissingError';
  }
}

const LAUNCHER = fileURLToPath(new URL(`../../build/linux-${machine()}/launcher`, import.meta.url));
/** Descriptors of the second stage: ping sockets and listening sockets, of both families, and one for metrics. */
const FDS = {echo4: '4', echo6: '5', listen4: '6', listen6: '7', metrics: '8'} as const;

/** Doesn't return, unless it throws: TargetMissingError, or what executing the launcher fails with. */
export async function goToTarget(options: LocateOptions, main: string): Promise<void> {
  if (process.execve === undefined) throw new Error(`no execve on ${process.version} ${arch()}`);
  const pid = await findTarget(options);
  // At home already there is nowhere to go, and the target's namespaces may be closed to this user.
  const place = options.isHome || pid === undefined ? process.pid : pid;
  const {metrics} = options;
  process.execve(
    LAUNCHER,
    [
      ...['launcher', 'enter', `${place}`, '--first', '--ping', FDS.echo4, FDS.echo6],
      ...['--listen', `${options.port}`, FDS.listen4, FDS.listen6],
      ...(metrics ? ['--listen-at', metrics.address, `${metrics.port}`, FDS.metrics] : []),
      '--',
      ...[process.execPath, ...process.execArgv, main, '--target-pid', `${pid ?? 'self'}`],
      ...['--echo4-fd', FDS.echo4, '--echo6-fd', FDS.echo6],
      ...['--listen4-fd', FDS.listen4, '--listen6-fd', FDS.listen6],
      ...(metrics ? ['--metrics-fd', FDS.metrics] : []),
      ...(options.isHome ? ['--home'] : []),
      ...options.passed,
    ],
    process.env,
  );
}

/** Undefined: there is none, and the agent is its own. */
async function findTarget({containerId, isHome}: LocateOptions): Promise<number | undefined> {
  if (containerId === undefined) return undefined;
  const pid = await findContainerProcess(containerId);
  if (pid !== undefined) return pid;
  // An ephemeral container sees the target's processes, but where groups have namespaces of their own
  // (cgroup v2), a path may be shown without the name that we look for. The first process is the target's.
  if (isHome) return 1;
  throw new TargetMissingError(containerId);
}
