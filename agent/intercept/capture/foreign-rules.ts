/**
 * Whether anybody but agents translates addresses in the pod: a service mesh does. What comes in by its network card is then the mesh's
 * ciphertext, and a copy of it is no use: ports are redirected (`rules.ts`), which goes by the order of the rules.
 */

import {readFileSync} from 'node:fs';
import {findTool, runTool} from '../tools.ts';

const TABLES_OF_OURS = /^inet mirrord-[0-9a-f]{8}$/;
const JUMP_TO_OURS = /\b(?:jump|-j) MRD(?:IN|STD)_[0-9a-f]{8}\b/;

/** Of a ruleset as nft lists it: a chain of NAT at a hook with a rule in it, or one that leads to a proxy (TPROXY). */
export function translatesByNft(text: string): boolean {
  let table = '';
  let isNat = false;
  for (const line of text.split('\n')) {
    const rule = line.trim();
    const [, family] = /^table (\S+ \S+) \{$/.exec(rule) ?? [];
    if (family !== undefined) table = family;
    else if (rule.startsWith('chain ') || rule === '}') isNat = false;
    else if (rule.startsWith('type '))
      isNat = /^type nat hook (?:prerouting|output|input)\b/.test(rule);
    else if (/\btproxy\b/i.test(rule)) return true;
    else if (isNat && rule !== '' && !TABLES_OF_OURS.test(table) && !JUMP_TO_OURS.test(rule))
      return true;
  }
  return false;
}

/** Of the table `nat` as iptables-save writes it. */
export function translatesByIptables(text: string): boolean {
  return text
    .split('\n')
    .some((line) => /^-A (?:PREROUTING|OUTPUT|INPUT) /.test(line) && !JUMP_TO_OURS.test(line));
}

/** Asking a legacy tool for a table makes it. */
function hasLegacyTable(family: 'ip' | 'ip6'): boolean {
  try {
    return readFileSync(`/proc/net/${family}_tables_names`, 'utf8').split('\n').includes('nat');
  } catch {
    return false; // the kernel has none
  }
}

/** What can't be asked translates nothing that we could respect. */
async function ask(tool: string, args: readonly string[]): Promise<string> {
  const path = findTool(tool);
  return path === undefined ? '' : await runTool(path, args, '').catch(() => '');
}

/** Whether there are such rules now. */
export async function hasForeignRules(): Promise<boolean> {
  if (translatesByNft(await ask('nft', ['-t', 'list', 'ruleset']))) return true;
  for (const family of ['ip', 'ip6'] as const) {
    if (!hasLegacyTable(family)) continue;
    const text = await ask(`${family}tables-legacy-save`, ['-t', 'nat']);
    if (translatesByIptables(text)) return true;
  }
  return false;
}
