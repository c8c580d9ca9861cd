/**
 * The demo cluster as others use it: start it, ask it, end it.
 *
 * Theory of operation. `ensureDemo` takes the lock, asks the control socket, and if nobody answers
 * starts the supervisor: a launcher makes the node's namespaces (for an ordinary user with a user
 * namespace around them; root needs none) and executes it in them with all rights there. The launcher
 * outlives us: it ends, with all that it started, when the supervisor ends. Then we wait for the pods.
 *
 * What a killed supervisor leaves are files only; they are cleared away before the next start. One that
 * doesn't answer any more is killed by what `state.json` says.
 */

import {closeSync, openSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import {setTimeout as delay} from 'node:timers/promises';
import {fileURLToPath} from 'node:url';
import {MirrordError} from '../../layer/errors.ts';
import {findNft} from '../../layer/localhost.ts';
import {launcherPath} from '../../layer/native/native.ts';
import {Launcher} from '../../layer/sandbox/launcher.ts';
import {explainSandboxFailure} from '../../layer/sandbox/preconditions.ts';
import {isPrivileged} from '../../layer/sandbox/privilege.ts';
import {version} from '../version.ts';
import {
  type DemoStatus,
  type ExtraPod,
  NotRunningError,
  type PodStatus,
  request,
} from './control.ts';
import {
  type DemoPaths,
  demoPaths,
  identify,
  isAlive,
  lockDemo,
  makeDirectories,
  type ProcessIdentity,
  readState,
  removeFiles,
  writeState,
} from './state.ts';

const supervisor = fileURLToPath(new URL('supervisor.ts', import.meta.url));

/** Nothing that we wait for takes longer, milliseconds. */
const startTimeoutMs = 60_000;
/** A supervisor that was told to end has this long, milliseconds. */
const endTimeoutMs = 10_000;
/** Between two looks at something that can't be waited for, milliseconds. */
const pauseMs = 20;

export interface EnsureOptions {
  /** Told what is being done, while there is something to do. */
  progress?: ((text: string) => void) | undefined;
  signal?: AbortSignal | undefined;
}

/** The status, or undefined when nobody answers. */
async function askStatus(paths: DemoPaths): Promise<DemoStatus | undefined> {
  try {
    return await request<DemoStatus>(
      paths.socket,
      {operation: 'status'},
      {signal: AbortSignal.timeout(endTimeoutMs)},
    );
  } catch (error) {
    if (error instanceof NotRunningError || !(error instanceof MirrordError)) return undefined;
    throw error;
  }
}

function startSupervisor(paths: DemoPaths, nft: string): ProcessIdentity {
  const log = openSync(join(paths.logs, 'supervisor.log'), 'a', 0o600);
  let launcher: Launcher | undefined;
  try {
    launcher = new Launcher({
      argv: [process.execPath, '--max-old-space-size=96', supervisor, paths.directory, nft],
      env: {PATH: '/usr/sbin:/usr/bin:/sbin:/bin'},
      cwd: '/',
      stdio: ['ignore', log, log],
      detached: true,
    });
    launcher.unshare(...(isPrivileged() ? [] : (['user'] as const)), 'net', 'mnt', 'uts', 'ipc');
    launcher.command('hostname', 'mirrord-demo');
    const pid = launcher.exec('keep');
    launcher.outlive();
    const processes = [launcher.process.pid ?? 0, pid].flatMap((each) => identify(each) ?? []);
    writeState(paths, processes);
    return processes[0] ?? {pid, startTime: ''};
  } catch (error) {
    throw explainSandboxFailure('start the demo cluster', error);
  } finally {
    launcher?.[Symbol.dispose]();
    closeSync(log);
  }
}

/** Waits for the supervisor's pods; it may not have opened its socket yet. */
async function waitForPods(
  paths: DemoPaths,
  launcher: ProcessIdentity | undefined,
  options: EnsureOptions,
): Promise<DemoStatus> {
  const timeout = AbortSignal.timeout(startTimeoutMs);
  const signal = options.signal ? AbortSignal.any([options.signal, timeout]) : timeout;
  for (;;) {
    try {
      const {progress} = options;
      return await request<DemoStatus>(paths.socket, {operation: 'wait'}, {progress, signal});
    } catch (error) {
      if (!(error instanceof NotRunningError)) throw error;
    }
    signal.throwIfAborted();
    if (launcher === undefined || !isAlive(launcher)) {
      const log = join(paths.logs, 'supervisor.log');
      throw new MirrordError('MIRRORD_DEMO_FAILED', `the demo ended at once: ${lastLine(log)}`, {
        hint: `see ${log}`,
      });
    }
    await delay(pauseMs);
  }
}

function lastLine(path: string): string {
  const lines = readFileSync(path, 'utf8').trim().split('\n');
  return lines.findLast((line) => line.includes('Error')) ?? lines.at(-1) ?? '';
}

/** Throws MIRRORD_DEMO_OUTDATED unless the demo is of this very version: pods and requests may differ. */
function checkVersion(status: Partial<DemoStatus>): void {
  if (status.version === version) return;
  const starter = status.version === undefined ? 'an older mirrord' : `mirrord ${status.version}`;
  throw new MirrordError(
    'MIRRORD_DEMO_OUTDATED',
    `the demo cluster that runs was started by ${starter}; this is mirrord ${version}`,
    {hint: 'end it, and what runs in it: mirrord demo down; the next use starts a new one'},
  );
}

/** Ends processes that don't react to anything else, and waits for them to be gone. */
async function kill(processes: readonly ProcessIdentity[]): Promise<void> {
  const deadline = performance.now() + endTimeoutMs;
  for (const each of processes) if (isAlive(each)) process.kill(each.pid, 'SIGKILL');
  while (processes.some(isAlive) && performance.now() < deadline) await delay(pauseMs);
}

/**
 * Makes sure that the demo runs and all its pods are ready. Does nothing more if so already; several
 * callers at once get the same demo. Throws MIRRORD_NFT_MISSING, MIRRORD_USERNS_DENIED,
 * MIRRORD_DEMO_FAILED, MIRRORD_DEMO_POD_FAILED, MIRRORD_DEMO_BUSY, MIRRORD_DEMO_OUTDATED and those of `demoPaths`.
 */
export async function ensureDemo(options: EnsureOptions = {}): Promise<DemoStatus> {
  const paths = demoPaths();
  const running = await askStatus(paths);
  if (running !== undefined) checkVersion(running);
  if (running?.pods.every(({ready}) => ready) && running.pods.length > 0) return running;
  using _lock = await lockDemo(paths);
  const other = await askStatus(paths);
  if (other !== undefined) {
    checkVersion(other);
    return await waitForPods(paths, undefined, options);
  }
  const nft = findNft();
  if (nft === undefined) {
    throw new MirrordError('MIRRORD_NFT_MISSING', 'the demo cluster needs nft for its services', {
      hint: 'apt-get install nftables',
    });
  }
  options.progress?.('starting the demo cluster');
  makeDirectories(paths);
  await kill(readState(paths));
  return await waitForPods(paths, startSupervisor(paths, nft), options);
}

/** Ends the demo and removes its files. Returns whether there was one. */
export async function endDemo(): Promise<boolean> {
  const paths = demoPaths();
  using _lock = await lockDemo(paths);
  const processes = readState(paths);
  if (processes.length === 0) {
    removeFiles(paths);
    return false;
  }
  try {
    const signal = AbortSignal.timeout(endTimeoutMs);
    await request(paths.socket, {operation: 'down'}, {signal});
    const deadline = performance.now() + endTimeoutMs;
    while (processes.some(isAlive) && performance.now() < deadline) await delay(pauseMs);
  } catch {
    // It doesn't answer: what follows needs no answer.
  }
  await kill(processes);
  removeFiles(paths);
  return true;
}

/** What the demo is, or undefined when it doesn't run. */
export function demoStatus(): Promise<DemoStatus | undefined> {
  return askStatus(demoPaths());
}

/** Starts one more pod in the running demo; ready when its `ports` are open. */
export function runPod(pod: ExtraPod): Promise<PodStatus> {
  return request<PodStatus>(demoPaths().socket, {operation: 'run', pod});
}

/** Ends a pod. */
export async function stopPod(name: string): Promise<void> {
  await request(demoPaths().socket, {operation: 'stop', name});
}

export interface DemoTarget {
  /** The pod's main process, as this machine numbers it. */
  pid: number;
  podName: string;
}

/**
 * Finds a pod by name, or the first replica of what has that name (`orders` is `orders-0`). Throws
 * MIRRORD_TARGET_NOT_FOUND.
 */
export async function resolveDemoTarget(name: string): Promise<DemoTarget> {
  const {pods = []} = (await demoStatus()) ?? {};
  const found = pods.find((pod) => pod.name === name) ?? pods.find((pod) => pod.app === name);
  if (found !== undefined && found.pid !== 0) return {pid: found.pid, podName: found.name};
  throw new MirrordError('MIRRORD_TARGET_NOT_FOUND', `the demo has no pod ${name}`, {
    hint: pods.length > 0 ? `it has ${pods.map((pod) => pod.name).join(', ')}` : 'mirrord demo up',
  });
}

/** The command line that runs a program inside a pod: its namespaces and its files. */
export function insidePod(pid: number, argv: readonly string[]): [string, ...string[]] {
  return [launcherPath(), 'enter', String(pid), '--mount', '--', ...argv];
}
