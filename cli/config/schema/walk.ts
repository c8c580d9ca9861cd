/**
 * Walks over the schema: the keys a node has, the alternative that a value means, all paths.
 */

import type {Key, KeyInfo, Keys, Node, Status} from './types.ts';

/** Whether a value is an object with names, not an array. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Whether a value has the outer shape that a node asks for; what is inside isn't looked at. */
export function fits(node: Node, value: unknown): boolean {
  switch (node.kind) {
    case 'any':
      return true;
    case 'string':
      return typeof value === 'string';
    case 'boolean':
      return typeof value === 'boolean';
    case 'integer':
      return typeof value === 'number';
    case 'values':
      return typeof value === 'string' && node.values.includes(value);
    case 'list':
      return Array.isArray(value) || fits(node.item, value);
    case 'array':
      return Array.isArray(value);
    case 'map':
    case 'tagged':
      return isRecord(value);
    case 'object':
      return isRecord(value) || node.shorthand?.expand(value) !== undefined;
    case 'choice':
      return node.of.some((alternative) => fits(alternative, value));
  }
}

/** How many of a value's names an alternative knows; all required ones being there decides a draw. */
function score(node: Node, value: unknown): number {
  if (node.kind !== 'object' || !isRecord(value)) return 0;
  const known = Object.keys(value).filter((name) => Object.hasOwn(node.keys, name)).length;
  const complete = Object.entries(node.keys).every(
    ([name, {info}]) => info.required !== true || Object.hasOwn(value, name),
  );
  return 2 * known + (complete ? 1 : 0);
}

/** The alternative of a choice that a value means: of those it fits, the one that knows most of it. */
export function pick(of: readonly Node[], value: unknown): Node | undefined {
  let best: Node | undefined;
  let bestScore = -1;
  for (const alternative of of) {
    if (!fits(alternative, value)) continue;
    const alternativeScore = score(alternative, value);
    if (alternativeScore <= bestScore) continue;
    best = alternative;
    bestScore = alternativeScore;
  }
  return best;
}

/** The variant of a tagged object; undefined when its tag is missing or unknown. */
export function variantOf(
  node: Node & {kind: 'tagged'},
  value: Record<string, unknown>,
): Node | undefined {
  const name = value[node.tag] ?? node.fallback;
  if (typeof name !== 'string' || !Object.hasOwn(node.variants, name)) return undefined;
  return node.variants[name];
}

/** All objects that a value of this node may be, shorthands' included. */
export function objectsOf(node: Node): Keys[] {
  switch (node.kind) {
    case 'object':
      return [node.keys, ...(node.shorthand?.accepts ?? []).flatMap(objectsOf)];
    case 'tagged':
      return Object.values(node.variants).flatMap(objectsOf);
    case 'choice':
      return node.of.flatMap(objectsOf);
    default:
      return [];
  }
}

/** A key together with what it inherits. */
export interface FoundKey {
  /** Names from the root; `[]` for an array's items, `<name>` for a map's values. */
  path: readonly string[];
  key: Key;
  status: Status;
  /** What happens today instead, if anything is told. */
  instead: string | undefined;
}

/** What a key has from itself or else from the keys around it. */
export function inherit(
  above: {status: Status; instead: string | undefined},
  info: KeyInfo,
): {status: Status; instead: string | undefined} {
  return {status: info.status ?? above.status, instead: info.instead ?? above.instead};
}

/** What holds for keys that say nothing. */
export const outermost = {status: 'later', instead: undefined} as const;

function* keysIn(
  node: Node,
  path: readonly string[],
  above: {status: Status; instead: string | undefined},
): Generator<FoundKey> {
  if (node.kind === 'list' || node.kind === 'array')
    yield* keysIn(node.item, [...path, '[]'], above);
  if (node.kind === 'map') yield* keysIn(node.value, [...path, '<name>'], above);
  for (const keys of node.kind === 'choice' ? [] : objectsOf(node)) {
    for (const [name, key] of Object.entries(keys)) {
      const inherited = inherit(above, key.info);
      yield {path: [...path, name], key, ...inherited};
      yield* keysIn(key.type, [...path, name], inherited);
    }
  }
  if (node.kind === 'choice') for (const one of node.of) yield* keysIn(one, path, above);
}

/** Every key of a schema, outer ones first; a path may come several times, once a variant. */
export function allKeys(node: Node): Generator<FoundKey> {
  return keysIn(node, [], outermost);
}
