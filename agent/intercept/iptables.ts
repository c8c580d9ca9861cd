/** Redirecting by iptables(8): by either kind, in the tables of which the other sees nothing. */

import {readFileSync} from 'node:fs';
import type {Backend} from './backend.ts';
import {
  iptablesClear,
  iptablesInstall,
  iptablesRemove,
  isInstalled,
  listedAgents,
} from './iptables-rules.ts';
import type {Redirection} from './rules.ts';
import {findTool, runTool, runToolNow} from './tools.ts';

/** Old xtables, or nftables by their names. */
export type Variant = 'nft' | 'legacy';

const RESTORE = ['--noflush', '--wait', '2'];

/** The tools for one family. */
interface Family {
  readonly save: string;
  readonly restore: string;
  /** Where the kernel tells which tables there are: asking a legacy tool makes them. */
  readonly tableNames: string;
  readonly isNeeded: boolean;
}

function findFamily(variant: Variant, version: 4 | 6): Family | undefined {
  const name = version === 4 ? 'ip' : 'ip6';
  const save = findTool(`${name}tables-${variant}-save`);
  const restore = findTool(`${name}tables-${variant}-restore`);
  if (save === undefined || restore === undefined) return undefined;
  return {save, restore, tableNames: `/proc/net/${name}_tables_names`, isNeeded: version === 4};
}

function hasTable(family: Family): boolean {
  try {
    return readFileSync(family.tableNames, 'utf8').split('\n').includes('nat');
  } catch {
    return false; // the kernel has no legacy tables
  }
}

/** Chains of this agent's own in the table `nat`, of both families; IPv6 may be missing. */
export class Iptables implements Backend {
  readonly name: string;
  readonly #variant: Variant;
  readonly #families: readonly Family[];
  readonly #id: string;
  readonly #installed = new Set<Family>();

  /** Undefined where the tools are missing. */
  static find(variant: Variant, id: string): Iptables | undefined {
    const four = findFamily(variant, 4);
    const six = findFamily(variant, 6);
    if (four === undefined) return undefined;
    return new Iptables(variant, six === undefined ? [four] : [four, six], id);
  }

  private constructor(variant: Variant, families: readonly Family[], id: string) {
    this.name = `iptables-${variant}`;
    this.#variant = variant;
    this.#families = families;
    this.#id = id;
  }

  async takenByOthers(): Promise<ReadonlySet<number>> {
    const taken = new Set<number>();
    for (const family of this.#families) {
      const text = await this.#save(family);
      for (const {id, ports, isAlive} of listedAgents(text, Date.now())) {
        if (id === this.#id) continue;
        for (const port of ports) taken.add(port);
        const clear = iptablesClear(text, id);
        if (!isAlive) await runTool(family.restore, RESTORE, clear).catch(() => undefined);
      }
    }
    return taken;
  }

  async redirect(redirection: Redirection): Promise<void> {
    for (const family of this.#families) {
      try {
        await this.#install(family, redirection);
      } catch (error) {
        if (family.isNeeded) throw error;
      }
    }
  }

  stop(): void {
    const none = {ports: [], to: 0};
    const script = iptablesInstall(this.#id, none, {isFirst: false, nowMs: Date.now()});
    for (const {restore} of this.#installed) runToolNow(restore, RESTORE, script);
  }

  remove(): void {
    for (const family of this.#installed) {
      this.#installed.delete(family);
      runToolNow(family.restore, RESTORE, iptablesRemove(this.#id));
    }
  }

  async #install(family: Family, redirection: Redirection): Promise<void> {
    const script = (isFirst: boolean): string =>
      iptablesInstall(this.#id, redirection, {isFirst, nowMs: Date.now()});
    try {
      await runTool(family.restore, RESTORE, script(!this.#installed.has(family)));
    } catch (error) {
      // Where somebody has removed the rules they are made again.
      const isGone =
        this.#installed.has(family) && !isInstalled(await this.#save(family), this.#id);
      if (!isGone) throw error;
      await runTool(family.restore, RESTORE, script(true));
    }
    this.#installed.add(family);
  }

  /** The table `nat`; empty where there is none. */
  async #save(family: Family): Promise<string> {
    if (this.#variant === 'legacy' && !hasTable(family)) return '';
    return await runTool(family.save, ['-t', 'nat'], '');
  }
}
