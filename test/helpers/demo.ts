/**
 * A demo cluster of its own for a test file, run by an ordinary user in a private runtime directory.
 */

import {readdirSync, readFileSync, readlinkSync} from 'node:fs';
import {fileURLToPath} from 'node:url';
import {insidePod} from '../../cli/demo/client.ts';
import {type DemoStatus, NotRunningError, type PodStatus, request} from '../../cli/demo/control.ts';
import {type Finished, type RunOptions, runAsUser, userDirectory} from './user.ts';

const mirrord = fileURLToPath(new URL('../../bin/mirrord', import.meta.url));

/** Asks the supervisor of the demo of a runtime directory itself, which is quicker than the command. */
async function statusOf(runtime: string): Promise<DemoStatus | {running: false}> {
  try {
    return await request<DemoStatus>(`${runtime}/mirrord/demo/socket`, {operation: 'status'});
  } catch (error) {
    if (error instanceof NotRunningError) return {running: false};
    throw error;
  }
}

/** What such a demo tells of a pod. */
export async function podOf(runtime: string, name: string): Promise<PodStatus> {
  const status = await statusOf(runtime);
  const pod = status.running ? status.pods.find((each) => each.name === name) : undefined;
  if (pod === undefined) throw new Error(`the demo has no pod ${name}`);
  return pod;
}

export class TestDemo implements AsyncDisposable {
  #asRoot: boolean;
  #directory;

  /** `asRoot`: for root's tests, a demo of root's. */
  constructor({asRoot = false} = {}) {
    this.#asRoot = asRoot;
    this.#directory = userDirectory(asRoot);
  }

  /** XDG_RUNTIME_DIR of the demo's user. */
  get runtime(): string {
    return this.#directory.path;
  }

  /** Runs `mirrord demo …`. */
  command(...args: readonly string[]): Promise<Finished> {
    return runAsUser([mirrord, 'demo', ...args], {
      env: {XDG_RUNTIME_DIR: this.runtime},
      asRoot: this.#asRoot,
    });
  }

  /** Starts the cluster, unless it runs. */
  async up(): Promise<DemoStatus> {
    const {status, stdout, stderr} = await this.command('up', '--json');
    if (status !== 0) throw new Error(`demo up: status ${status}: ${stderr}`);
    return JSON.parse(stdout) as DemoStatus;
  }

  async status(): Promise<DemoStatus | {running: false}> {
    return await statusOf(this.runtime);
  }

  async pod(name: string): Promise<PodStatus> {
    return await podOf(this.runtime, name);
  }

  /** Runs a program in a pod, with the pod's environment and files. */
  async inside(name: string, argv: readonly string[], options?: RunOptions): Promise<Finished> {
    const {pid, env} = await this.pod(name);
    return runAsUser(insidePod(pid, argv), {env: {...env}, asRoot: this.#asRoot, ...options});
  }

  /** Processes that belong to this demo: all that were started by its supervisor's launcher. */
  processes(): number[] {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map(Number)
      .filter((pid) => belongs(pid, this.runtime));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.command('down');
    this.#directory[Symbol.dispose]();
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return ''; // it has ended, or is another's
  }
}

/**
 * Whether a process is a demo's: it names the directory, or its root, a tmpfs, was built there (pods'
 * processes have neither in their command line, but their log in it).
 */
function belongs(pid: number, directory: string): boolean {
  if (read(`/proc/${pid}/stat`).includes(') Z ')) return false;
  return (
    read(`/proc/${pid}/cmdline`).includes(`${directory}/`) ||
    linksOf(`/proc/${pid}/fd`).some((target) => target.startsWith(`${directory}/`))
  );
}

/** What the links of a directory lead to; none if it is gone, or somebody else's. */
export function linksOf(path: string): string[] {
  try {
    return readdirSync(path).map((name) => linkOf(`${path}/${name}`));
  } catch {
    return [];
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}
