/** Redirecting by nft(8). */

import type {Backend, Keeper} from './backend.ts';
import {NftKeeper} from './nft-keeper.ts';
import {
  agentTables,
  listedPorts,
  nftInstall,
  nftLine,
  nftOwn,
  nftRefresh,
  nftRemove,
  nftWithdraw,
  type Redirection,
  tableName,
} from './rules.ts';
import {runTool, runToolNow} from './tools.ts';

/**
 * A table of this agent's own. Other agents of the pod have theirs: what one of them redirects is not ours to take, and one
 * whose rules have all expired is dead, and its table is cleared away.
 *
 * The kernel takes the table away when we are killed (`nft-keeper.ts`), where it can; one before Linux 5.12 lets it expire.
 */
export class Nftables implements Backend {
  readonly name = 'nftables';
  readonly #nft: string;
  readonly #table: string;
  #isInstalled = false;
  /** Who has the table; undefined: nobody yet, or nobody in particular. */
  #keeper: NftKeeper | undefined;
  #mayKeep = true;
  /** What is to be loaded again if the keeper is killed. */
  #last: Redirection = {ports: [], to: 0};
  /** One after the other: two keepers can't have the same table. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(nft: string, id: string) {
    this.#nft = nft;
    this.#table = tableName(id);
  }

  redirect(redirection: Redirection): Promise<void> {
    this.#last = redirection;
    const turn = this.#turn.then(() => this.#redirect(redirection));
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  async #redirect(redirection: Redirection): Promise<void> {
    if (this.#mayKeep && (await this.#keep(redirection))) return;
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

  get keeper(): Keeper | undefined {
    if (this.#keeper === undefined) return undefined;
    const {descriptors} = this.#keeper;
    return {descriptors, withdrawal: `${nftWithdraw(this.#table)}\n`};
  }

  remove(): void {
    this.#keeper?.end();
    this.#keeper = undefined;
    if (!this.#isInstalled) return;
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

  /** False: it can't be kept. */
  async #keep(redirection: Redirection): Promise<boolean> {
    if (this.#keeper !== undefined) {
      try {
        await this.#keeper.run(nftLine(nftRefresh(this.#table, redirection)));
        return true;
      } catch {
        this.#keeper.end(); // it hangs, or has ended: another one makes the table again
      }
    }
    const keeper = new NftKeeper(this.#nft, () => this.#onLost(keeper));
    this.#keeper = keeper;
    try {
      await keeper.run(nftOwn(this.#table, redirection));
      return true;
    } catch {
      keeper.end();
      this.#keeper = undefined;
      this.#mayKeep = false;
      return false;
    }
  }

  /** Somebody has killed it: what passes through us needs the table at once. */
  #onLost(keeper: NftKeeper): void {
    if (this.#keeper === keeper) this.redirect(this.#last).catch(() => undefined); // the refresh tells
  }

  async #load(script: string): Promise<void> {
    await runTool(this.#nft, ['-f', '-'], script);
  }
}
