/** Redirecting by nft(8). */

import type {Backend} from './backend.ts';
import {
  agentTables,
  listedPorts,
  nftInstall,
  nftRefresh,
  nftRemove,
  type Redirection,
  tableName,
} from './rules.ts';
import {runTool, runToolNow} from './tools.ts';

/**
 * A table of this agent's own. Other agents of the pod have theirs: what one of them redirects is not ours to take, and one
 * whose rules have all expired is dead, and its table is cleared away.
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

  async takenByOthers(except = ''): Promise<ReadonlySet<number>> {
    const taken = new Set<number>();
    const tables = agentTables(await runTool(this.#nft, ['list', 'tables', 'inet'], ''));
    const own = [this.#table, tableName(except)];
    for (const table of tables.filter((name) => !own.includes(name))) {
      const map = ['list', 'map', 'inet', table, 'ports'];
      const theirs = listedPorts(await runTool(this.#nft, map, '').catch(() => ''));
      if (theirs === undefined) await this.#load(nftRemove(table)).catch(() => undefined);
      for (const port of theirs ?? []) taken.add(port);
    }
    return taken;
  }

  async bury(id: string): Promise<void> {
    await this.#load(nftRemove(tableName(id)));
  }

  async #load(script: string): Promise<void> {
    await runTool(this.#nft, ['-f', '-'], script);
  }
}
