/** The tools that load redirecting rules: nft(8), and where that is missing iptables-restore(8). */

import {type SpawnSyncReturns, spawn, spawnSync} from 'node:child_process';
import {existsSync} from 'node:fs';
import {
  agentTables,
  iptablesInstall,
  iptablesRemove,
  listedPorts,
  nftInstall,
  nftRefresh,
  nftRemove,
  type Redirection,
  tableName,
} from './rules.ts';

/** A tool that does not answer holds everything up: ms. */
const TOOL_TIMEOUT_MS = 5_000;
/** What is kept of a tool's output, characters: lists of a table of ours are short. */
const OUTPUT_LIMIT = 65_536;

/** The rules could not be loaded. */
export class RulesError extends Error {
  readonly code: 'EPERM' | 'EADDRINUSE' | 'ENOTSUP';

  constructor(code: RulesError['code'], message: string) {
    super(message);
    this.name = 'RulesError';
    this.code = code;
  }
}

/** One way to have ports redirected. */
export interface Backend {
  readonly name: string;
  /** Ports that other agents of the pod redirect; clears away what dead ones have left. Rejects with RulesError. */
  takenByOthers(): Promise<ReadonlySet<number>>;
  /** Redirects exactly these ports for another while. Rejects with RulesError. */
  redirect(redirection: Redirection): Promise<void>;
  /** Redirects nothing new, before it returns; connections that were go on. Throws RulesError. */
  stop(): void;
  /** Removes every rule, before it returns. Throws RulesError. */
  remove(): void;
}

/** By place, never by PATH. */
function findTool(name: string): string | undefined {
  return ['/usr/sbin', '/sbin', '/usr/bin', '/usr/local/sbin']
    .map((directory) => `${directory}/${name}`)
    .find((path) => existsSync(path));
}

function failure(tool: string, complaint: string): RulesError {
  const text = complaint.trim().split('\n')[0] ?? '';
  const isDenied = /not permitted|permission denied|you must be root/i.test(complaint);
  return new RulesError(isDenied ? 'EPERM' : 'ENOTSUP', `${tool}: ${text || 'failed'}`);
}

const environment = {PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C'};

/** Runs a tool to its end; returns what it wrote. Rejects with RulesError. */
async function runTool(path: string, args: readonly string[], input: string): Promise<string> {
  const child = spawn(path, args, {
    env: environment,
    timeout: TOOL_TIMEOUT_MS,
    killSignal: 'SIGKILL',
  });
  const output = {stdout: '', stderr: ''};
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      output[name] = (output[name] + text).slice(0, OUTPUT_LIMIT);
    });
  }
  child.stdin.on('error', () => undefined); // it has complained and ended
  child.stdin.end(input);
  const {promise, resolve, reject} = Promise.withResolvers<string>();
  child.once('error', (error) => reject(failure(path, error.message)));
  child.once('close', (status) =>
    status === 0 ? resolve(output.stdout) : reject(failure(path, output.stderr)),
  );
  return await promise;
}

/** The same while everything else waits: at the end, when there is no later. */
function runToolNow(path: string, args: readonly string[], input: string): void {
  const options = {env: environment, input, timeout: TOOL_TIMEOUT_MS, encoding: 'utf8'} as const;
  const {status, stderr}: SpawnSyncReturns<string> = spawnSync(path, args, options);
  if (status !== 0) throw failure(path, stderr ?? '');
}

/**
 * A table of this agent's own. Other agents of the pod have theirs: what one of them redirects is not ours to take, and one
 * that redirects nothing any more is dead, and its table is cleared away.
 */
export class Nftables implements Backend {
  readonly name = 'nftables';
  readonly #nft: string;
  readonly #table: string;
  #isInstalled = false;

  constructor(nft: string, id: string) {
    this.#nft = nft;
    this.#table = tableName(id);
  }

  async redirect(redirection: Redirection): Promise<void> {
    if (this.#isInstalled) {
      try {
        await this.#load(nftRefresh(this.#table, redirection));
        return;
      } catch {
        // Somebody has removed the table: it is made again.
      }
    }
    this.#isInstalled = true;
    await this.#load(nftInstall(this.#table, redirection));
  }

  stop(): void {
    const script = nftRefresh(this.#table, {ports: [], to: 0});
    if (this.#isInstalled) runToolNow(this.#nft, ['-f', '-'], script);
  }

  remove(): void {
    this.#isInstalled = false;
    runToolNow(this.#nft, ['-f', '-'], nftRemove(this.#table));
  }

  async takenByOthers(): Promise<ReadonlySet<number>> {
    const taken = new Set<number>();
    const tables = agentTables(await runTool(this.#nft, ['list', 'tables', 'inet'], ''));
    for (const table of tables.filter((name) => name !== this.#table)) {
      const map = ['list', 'map', 'inet', table, 'ports'];
      const theirs = listedPorts(await runTool(this.#nft, map, '').catch(() => ''));
      if (theirs.length === 0) await this.#load(nftRemove(table)).catch(() => undefined);
      for (const port of theirs) taken.add(port);
    }
    return taken;
  }

  async #load(script: string): Promise<void> {
    await runTool(this.#nft, ['-f', '-'], script);
  }
}

/** Chains of this agent's own in the table `nat`, of both families; IPv6 may be missing. */
export class Iptables implements Backend {
  readonly name: string;
  readonly #tools: readonly {path: string; isNeeded: boolean}[];
  readonly #id: string;
  readonly #installed = new Set<string>();

  constructor(variant: 'nft' | 'legacy', four: string, six: string | undefined, id: string) {
    this.name = `iptables-${variant}`;
    this.#id = id;
    this.#tools = [
      {path: four, isNeeded: true},
      ...(six === undefined ? [] : [{path: six, isNeeded: false}]),
    ];
  }

  /** Rules of others are not told from those of a mesh: the self-test finds out. */
  async takenByOthers(): Promise<ReadonlySet<number>> {
    return new Set();
  }

  async redirect(redirection: Redirection): Promise<void> {
    for (const {path, isNeeded} of this.#tools) {
      const isFirst = !this.#installed.has(path);
      const script = iptablesInstall(this.#id, redirection, {isFirst, nowMs: Date.now()});
      try {
        await runTool(path, ['--noflush', '--wait', '2'], script);
        this.#installed.add(path);
      } catch (error) {
        if (isNeeded) throw error;
      }
    }
  }

  stop(): void {
    const script = iptablesInstall(
      this.#id,
      {ports: [], to: 0},
      {isFirst: false, nowMs: Date.now()},
    );
    for (const path of this.#installed) runToolNow(path, ['--noflush', '--wait', '2'], script);
  }

  remove(): void {
    for (const path of this.#installed) {
      this.#installed.delete(path);
      runToolNow(path, ['--noflush', '--wait', '2'], iptablesRemove(this.#id));
    }
  }
}

/** What may be tried here, best first; `id`: 8 hexadecimal digits, this agent's own. */
export function findBackends(id: string): Backend[] {
  const nft = findTool('nft');
  const iptables = (['nft', 'legacy'] as const).flatMap((variant) => {
    const four = findTool(`iptables-${variant}-restore`);
    const six = findTool(`ip6tables-${variant}-restore`);
    return four === undefined ? [] : [new Iptables(variant, four, six, id)];
  });
  return [...(nft === undefined ? [] : [new Nftables(nft, id)]), ...iptables];
}
