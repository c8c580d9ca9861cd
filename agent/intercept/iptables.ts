/** Redirecting by iptables(8): by either kind, in the tables of which the other sees nothing. */

import {readFileSync} from 'node:fs';
import {type Backend, RulesError} from './backend.ts';
import {
  hasMesh,
  iptablesClear,
  iptablesInstall,
  iptablesRemove,
  listedAgents,
  type Neighbours,
  neighbours,
} from './iptables-rules.ts';
import type {Redirection} from './rules.ts';
import {findTool, runTool, runToolNow} from './tools.ts';

/** Old xtables, or nftables by their names. */
export type Variant = 'nft' | 'legacy';

const RESTORE = ['--noflush', '--wait', '2'];

/** The tools for one family. */
interface Family {
  readonly variant: Variant;
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
  return {
    variant,
    save,
    restore,
    tableNames: `/proc/net/${name}_tables_names`,
    isNeeded: version === 4,
  };
}

function findFamilies(variant: Variant): Family[] {
  return ([4, 6] as const).flatMap((version) => findFamily(variant, version) ?? []);
}

/** The table `nat`; empty where there is none. */
async function saveTable(family: Family): Promise<string> {
  if (family.variant === 'legacy' && !hasTable(family)) return '';
  return await runTool(family.save, ['-t', 'nat'], '');
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
  readonly #families: readonly Family[];
  readonly #id: string;
  /** By the other kind of tables. */
  readonly #others: readonly Family[];
  readonly #installed = new Map<Family, Neighbours>();

  /** Undefined where the tools are missing. */
  static find(variant: Variant, id: string): Iptables | undefined {
    const [needed] = findFamilies(variant);
    return needed?.isNeeded === true ? new Iptables(variant, id) : undefined;
  }

  private constructor(variant: Variant, id: string) {
    this.name = `iptables-${variant}`;
    this.#families = findFamilies(variant);
    this.#others = findFamilies(variant === 'nft' ? 'legacy' : 'nft');
    this.#id = id;
  }

  async takenByOthers(except?: string): Promise<ReadonlySet<number>> {
    const taken = new Set<number>();
    for (const family of this.#families) {
      const text = await saveTable(family);
      for (const {id, ports, isAlive} of listedAgents(text, Date.now())) {
        if (id === this.#id || id === except) continue;
        for (const port of ports) taken.add(port);
        const clear = iptablesClear(text, id);
        if (!isAlive) await runTool(family.restore, RESTORE, clear).catch(() => undefined);
      }
    }
    return taken;
  }

  async bury(id: string): Promise<void> {
    for (const family of this.#families) {
      const text = await saveTable(family);
      if (!listedAgents(text, Date.now()).some((agent) => agent.id === id)) continue;
      await runTool(family.restore, RESTORE, iptablesClear(text, id));
    }
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

  remove(): void {
    for (const family of this.#installed.keys()) {
      this.#installed.delete(family);
      runToolNow(family.restore, RESTORE, iptablesRemove(this.#id));
    }
  }

  async #install(family: Family, redirection: Redirection): Promise<void> {
    const text = await saveTable(family);
    if (!this.#installed.has(family)) await this.#askForMesh(text);
    const among = neighbours(text, this.#id);
    const script = iptablesInstall(this.#id, redirection, {...among, nowMs: Date.now()});
    await runTool(family.restore, RESTORE, script);
    this.#installed.set(family, among);
  }

  /** A mesh must be asked before us, and of two kinds of tables the kernel asks the younger one first. */
  async #askForMesh(text: string): Promise<void> {
    if (hasMesh(text)) return;
    for (const other of this.#others) {
      if (hasMesh(await saveTable(other).catch(() => ''))) {
        throw new RulesError(
          'ENOTSUP',
          `a service mesh has its rules in the tables of iptables-${other.variant}`,
        );
      }
    }
  }
}
