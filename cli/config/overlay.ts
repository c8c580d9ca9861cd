/**
 * Lays the environment and the flags over a checked file: flag = environment variable > file > default.
 *
 * A flag is the same as its variable, so that both come out alike; of the two the flag is later and wins.
 */

import {check, expected, type Issue, splitList} from './check.ts';
import {type Path, quote} from './path.ts';
import {root} from './schema/root.ts';
import type {EnvVariable, Node} from './schema/types.ts';
import {allKeys, isRecord} from './schema/walk.ts';

type Variables = Readonly<Record<string, string | undefined>>;

/** A value for a key from outside of the file. */
export interface Override {
  path: readonly string[];
  value: unknown;
  /** The flag or variable it comes from, for messages. */
  origin: string;
}

/** Reads text as the type of a node; undefined if it isn't of that type. */
export function parseText(node: Node, text: string): unknown {
  switch (node.kind) {
    case 'boolean':
      return text === 'true' ? true : text === 'false' ? false : undefined;
    case 'integer':
      return /^\d{1,15}$/.test(text) ? Number(text) : undefined;
    case 'values': {
      const word = text.toLowerCase();
      return node.values.includes(word) ? word : undefined;
    }
    case 'list':
    case 'array': {
      const items = splitList(text).map((item) => parseText(node.item, item));
      return items.includes(undefined) ? undefined : items;
    }
    case 'choice':
      return node.of.map((one) => parseText(one, text)).find((value) => value !== undefined);
    case 'string':
    case 'any':
      return text;
    default:
      return undefined;
  }
}

interface Binding {
  path: readonly string[];
  node: Node;
  variable: Exclude<EnvVariable, string>;
}

function* bindingsOf(): Generator<Binding> {
  for (const {path, key} of allKeys(root)) {
    const {env} = key.info;
    if (env === undefined) continue;
    for (const variable of typeof env === 'string' || 'name' in env ? [env] : env) {
      const named = typeof variable === 'string' ? {name: variable} : variable;
      yield {path, node: key.type, variable: named};
    }
  }
}

/** Every variable that sets a key. Of several for one key, the first wins. */
export const bindings: readonly Binding[] = [...bindingsOf()];

/** What the environment says. Empty variables count as unset. */
export function fromEnvironment(env: Variables): {overrides: Override[]; issues: Issue[]} {
  const overrides: Override[] = [];
  const issues: Issue[] = [];
  for (const {path, node, variable} of bindings) {
    const text = env[variable.name];
    if (text === undefined || text === '') continue;
    const meant = variable.values;
    const value =
      meant !== undefined && Object.hasOwn(meant, text) ? meant[text] : parseText(node, text);
    if (value === undefined) {
      const message = `must be ${expected(node)}, not ${quote(text)}`;
      issues.push({path: [`$${variable.name}`], message});
    } else if (!overrides.some((other) => other.path.join('.') === path.join('.'))) {
      overrides.push({path, value, origin: `$${variable.name}`});
    }
  }
  return {overrides, issues};
}

function isWeak(origin: string): boolean {
  return bindings.some(({variable}) => `$${variable.name}` === origin && variable.weak === true);
}

/** The value at a path; undefined if there is none. */
export function valueAt(value: unknown, path: Path): unknown {
  let at: unknown = value;
  for (const step of path) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, step)) return undefined;
    at = (at as Record<string | number, unknown>)[step];
  }
  return at;
}

function set(
  value: Record<string, unknown>,
  [name, ...rest]: readonly string[],
  leaf: unknown,
): void {
  if (name === undefined) return;
  if (rest.length === 0) {
    value[name] = leaf;
    return;
  }
  const inner = value[name];
  const next = isRecord(inner) ? inner : {};
  value[name] = next;
  set(next, rest, leaf);
}

/** A copy of a checked value with the overrides over it, later ones over earlier ones. */
export function overlay(
  checked: Record<string, unknown>,
  overrides: readonly Override[],
): {value: Record<string, unknown>; issues: Issue[]} {
  const value = structuredClone(checked);
  const issues: Issue[] = [];
  // The weak ones first, judged by the file alone: one of them doesn't keep the next out.
  const open = overrides.filter(
    ({path, origin}) => !isWeak(origin) || valueAt(checked, path.slice(0, -1)) === undefined,
  );
  const weak = open.filter(({origin}) => isWeak(origin));
  for (const {path, value: leaf} of [...weak, ...open.filter((one) => !weak.includes(one))]) {
    set(value, path, leaf);
  }
  // Once more: an override may be out of range, or not fit what is around it.
  const again = check(root, value);
  for (const issue of again.issues) {
    const from = overrides.find(({path}) =>
      path.every((step, index) => issue.path[index] === step),
    );
    issues.push(from === undefined ? issue : {...issue, path: [from.origin]});
  }
  return {value: isRecord(again.value) ? again.value : value, issues};
}
