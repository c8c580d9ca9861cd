/**
 * What a configuration uses that does nothing yet, or never will here: told once, plainly.
 *
 * A key's `status` in the schema says which it is. A value that describes what happens anyway (`now`) needs
 * no word, so that a configuration written for mirrord is as quiet as it can be.
 */

import {isDeepStrictEqual} from 'node:util';
import type {LoadedConfig} from './load.ts';
import {formatPath, type Path} from './path.ts';
import {type Finding, warning} from './rules/rule.ts';
import {root} from './schema/root.ts';
import type {Key, Node, Status} from './schema/types.ts';
import {inherit, isRecord, outermost, pick, variantOf} from './schema/walk.ts';

/** A key that a configuration sets, with what the schema says about it. */
interface Used {
  path: Path;
  key: Key;
  value: unknown;
  status: Status;
  instead: string | undefined;
}

/** Goes through the keys that are set; stops below one that `visit` says true to. */
function walk(
  node: Node,
  value: unknown,
  around: {path: Path; status: Status; instead: string | undefined},
  visit: (used: Used) => boolean,
): void {
  const concrete =
    node.kind === 'choice'
      ? pick(node.of, value)
      : node.kind === 'tagged' && isRecord(value)
        ? variantOf(node, value)
        : node;
  if (concrete === undefined) return;
  if (concrete !== node) {
    walk(concrete, value, around, visit);
    return;
  }
  if (node.kind !== 'object' || !isRecord(value)) {
    const inner = node.kind === 'map' ? node.value : 'item' in node ? node.item : undefined;
    if (inner === undefined || typeof value !== 'object' || value === null) return;
    for (const [name, item] of Object.entries(value)) {
      const step = Array.isArray(value) ? Number(name) : name;
      walk(inner, item, {...around, path: [...around.path, step]}, visit);
    }
    return;
  }
  for (const [name, inner] of Object.entries(value)) {
    const key = Object.hasOwn(node.keys, name) ? node.keys[name] : undefined;
    if (key === undefined) continue;
    const used = {path: [...around.path, name], key, value: inner, ...inherit(around, key.info)};
    if (!visit(used)) walk(key.type, inner, used, visit);
  }
}

/** The keys that do nothing, the outermost one of each branch that says what happens instead. */
function idle(given: Record<string, unknown>): {later: Used[]; noEffect: Used[]} {
  const later: Used[] = [];
  const noEffect: Used[] = [];
  walk(root, given, {path: [], ...outermost}, (used) => {
    const {key, value, status} = used;
    // Blocks are made of keys; only those that are nothing by default count as a whole.
    if (key.type.kind === 'object' && isRecord(key.info.default)) return false;
    if (status === 'available') return true;
    if (key.info.now !== undefined && isDeepStrictEqual(key.info.now, value)) return true;
    (status === 'later' ? later : noEffect).push(used);
    return true;
  });
  return {later, noEffect};
}

/** Whether a key was set by a variable that is there for other reasons (TRACEPARENT, BAGGAGE). */
function isAmbient(path: Path, overrides: LoadedConfig['overrides']): boolean {
  const origin = overrides.find((one) => one.path.join('.') === path.join('.'))?.origin;
  return origin?.startsWith('$') === true && !origin.startsWith('$MIRRORD_');
}

/** Warnings about keys that do nothing yet, each with what happens instead; one for all that never will, for each reason. */
export function unavailable({
  given,
  overrides,
}: Pick<LoadedConfig, 'given' | 'overrides'>): Finding[] {
  const {later, noEffect} = idle(given);
  const findings = later
    .filter(({path}) => !isAmbient(path, overrides))
    .map(({path, instead}) =>
      warning(path, `is not available yet${instead === undefined ? '' : `: ${instead}`}`),
    );
  for (const [instead, [first, ...others]] of Map.groupBy(noEffect, (used) => used.instead)) {
    if (first !== undefined) findings.push(warning(first.path, withoutEffect(instead, others)));
  }
  return findings;
}

function withoutEffect(instead: string | undefined, others: readonly Used[]): string {
  const along =
    others.length === 0 ? '' : ` (nor have ${others.map(({path}) => formatPath(path)).join(', ')})`;
  return instead === undefined
    ? `has no effect here, where no library is preloaded into the program${along}`
    : `has no effect here${along}: ${instead}`;
}

/** Warnings about deprecated and unstable keys. */
export function deprecations(given: Record<string, unknown>): Finding[] {
  const findings: Finding[] = [];
  walk(root, given, {path: [], ...outermost}, ({path, key}) => {
    const {deprecated, unstable} = key.info;
    if (deprecated !== undefined) findings.push(warning(path, `is deprecated: ${deprecated}`));
    if (unstable === true) findings.push(warning(path, 'is unstable and may change'));
    return false;
  });
  return findings;
}
