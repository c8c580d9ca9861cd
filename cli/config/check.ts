/**
 * Checks a parsed file against the schema and brings it into one form: shorthands become the objects they
 * stand for, single values of lists become arrays, nulls go. Defaults are not filled in (`defaults.ts`).
 *
 * The value may be anything a parser makes, from anyone: `tooBig` bounds it before it is walked.
 */

import {formatPath, type Path, quote} from './path.ts';
import type {Node} from './schema/types.ts';
import {allKeys, isRecord, objectsOf, pick, variantOf} from './schema/walk.ts';
import {nearest} from './suggest.ts';

/** Something wrong at a place of the configuration. */
export interface Issue {
  path: Path;
  message: string;
}

/** More would not be read, and a hostile file has no end of them. */
const maxIssues = 50;
/** The schema's own depth is 9; the rest is for free-form values. */
const maxDepth = 40;
const maxValues = 100_000;

/** What kind of value something is, for messages. */
function kindOf(value: unknown): string {
  if (Array.isArray(value)) return 'a list';
  if (isRecord(value)) return 'an object';
  if (typeof value === 'string') return `the text ${quote(value)}`;
  if (typeof value === 'number') return `the number ${value}`;
  return String(value);
}

/** What a node takes, for messages. */
export function expected(node: Node): string {
  switch (node.kind) {
    case 'any':
      return 'anything';
    case 'string':
      return 'a text';
    case 'boolean':
      return 'true or false';
    case 'integer':
      return node.max === 65_535 ? 'a port' : 'a whole number';
    case 'values':
      return node.values.length === 1
        ? quote(node.values[0] ?? '')
        : `one of ${node.values.join(', ')}`;
    case 'list':
      return `${expected(node.item)} or a list of such`;
    case 'array':
      return 'a list';
    case 'object':
      return [...(node.shorthand?.accepts ?? []).map(expected), 'an object'].join(' or ');
    case 'map':
    case 'tagged':
      return 'an object';
    case 'choice':
      return [...new Set(node.of.map(expected))].join(' or ');
  }
}

/**
 * What makes a value unfit to be walked: depth, size, cycles (which are endless depth), or values that no
 * configuration has (dates, NaN). Undefined if it is fine.
 */
export function unfit(root: unknown): Issue | undefined {
  const open: {value: unknown; path: Path}[] = [{value: root, path: []}];
  let count = 0;
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const {value, path} = next;
    if (++count > maxValues) return {path: [], message: `holds more than ${maxValues} values`};
    if (path.length > maxDepth) {
      return {path: path.slice(0, 3), message: `is nested deeper than ${maxDepth} levels`};
    }
    if (typeof value === 'object' && value !== null) {
      const prototype: unknown = Object.getPrototypeOf(value);
      if (!Array.isArray(value) && prototype !== Object.prototype && prototype !== null) {
        return {path, message: 'is a date or another value that no key takes'};
      }
      for (const [name, inner] of Object.entries(value)) {
        if (name === '__proto__') return {path, message: 'has a key named __proto__'};
        open.push({value: inner, path: [...path, Array.isArray(value) ? Number(name) : name]});
      }
    } else if (
      typeof value === 'bigint' ||
      (typeof value === 'number' && !Number.isFinite(value))
    ) {
      return {path, message: `is ${value}, which no key takes`};
    }
  }
  return undefined;
}

/** Where else in the schema a key of this name is: shortest path first. */
function elsewhere(schema: Node, name: string): string | undefined {
  let best: string | undefined;
  for (const {path} of allKeys(schema)) {
    if (path.at(-1) !== name || path.includes('[]') || path.includes('<name>')) continue;
    const text = path.join('.');
    if (best === undefined || text.length < best.length) best = text;
  }
  return best;
}

/** Checks one value; `issues` collects what is wrong. */
class Checker {
  readonly issues: Issue[] = [];
  readonly #schema: Node;

  constructor(schema: Node) {
    this.#schema = schema;
  }

  #report(path: Path, message: string): undefined {
    if (this.issues.length < maxIssues) this.issues.push({path, message});
    return undefined;
  }

  #unknown(path: Path, name: string, known: readonly string[]): void {
    if (this.issues.length >= maxIssues) return;
    const near = nearest(name, known);
    const meant = near === undefined ? elsewhere(this.#schema, name) : formatPath([...path, near]);
    const hint = meant === undefined ? '' : `; did you mean ${meant}?`;
    this.#report([...path, name], `is not a known key${hint}`);
  }

  /** The value in its one form; undefined if it is wrong. */
  check(node: Node, value: unknown, path: Path): unknown {
    switch (node.kind) {
      case 'any':
        return value;
      case 'string':
      case 'boolean':
        if (typeof value === node.kind) return value;
        break;
      case 'integer':
        if (!Number.isInteger(value)) break;
        if (Number(value) >= node.min && Number(value) <= node.max) return value;
        return this.#report(path, `must be from ${node.min} to ${node.max}, not ${value}`);
      case 'values':
        return this.#word(node, value, path);
      case 'list':
        if (typeof value === 'string' && node.split) {
          return this.#items(node.item, splitList(value), path);
        }
        return this.#items(node.item, Array.isArray(value) ? value : [value], path);
      case 'array':
        if (!Array.isArray(value)) break;
        if (node.length === undefined || node.length === value.length) {
          return this.#items(node.item, value, path);
        }
        return this.#report(path, `must have ${node.length} items, not ${value.length}`);
      case 'map':
        if (isRecord(value)) return this.#map(node.value, value, path);
        break;
      case 'object': {
        const expanded = node.shorthand?.expand(value) ?? value;
        if (isRecord(expanded)) return this.#object(node, expanded, path);
        break;
      }
      case 'tagged':
        if (isRecord(value)) return this.#tagged(node, value, path);
        break;
      case 'choice': {
        const picked = pick(node.of, value);
        if (picked !== undefined) return this.check(picked, value, path);
        break;
      }
    }
    return this.#report(path, `must be ${expected(node)}, not ${kindOf(value)}`);
  }

  #word(node: Node & {kind: 'values'}, value: unknown, path: Path): unknown {
    if (typeof value === 'string' && node.values.includes(value)) return value;
    const near = typeof value === 'string' ? nearest(value, node.values) : undefined;
    const hint = near === undefined ? '' : `; did you mean ${near}?`;
    return this.#report(path, `must be ${expected(node)}, not ${kindOf(value)}${hint}`);
  }

  #items(item: Node, value: readonly unknown[], path: Path): unknown[] {
    return value.map((one, index) => this.check(item, one, [...path, index]));
  }

  #map(node: Node, value: Record<string, unknown>, path: Path): Record<string, unknown> {
    const checked: Record<string, unknown> = {};
    for (const [name, inner] of Object.entries(value)) {
      if (inner !== null) checked[name] = this.check(node, inner, [...path, name]);
    }
    return checked;
  }

  #object(node: Node & {kind: 'object'}, value: Record<string, unknown>, path: Path): unknown {
    const checked: Record<string, unknown> = {};
    for (const [name, inner] of Object.entries(value)) {
      const key = Object.hasOwn(node.keys, name) ? node.keys[name] : undefined;
      if (key === undefined) this.#unknown(path, name, Object.keys(node.keys));
      else if (inner !== null) checked[name] = this.check(key.type, inner, [...path, name]);
    }
    for (const [name, {info}] of Object.entries(node.keys)) {
      if (info.required !== true || (value[name] ?? null) !== null) continue;
      this.#report(path, `needs the key ${name}`);
    }
    return checked;
  }

  #tagged(node: Node & {kind: 'tagged'}, value: Record<string, unknown>, path: Path): unknown {
    const variant = variantOf(node, value);
    if (variant !== undefined) return this.check(variant, value, path);
    const names = Object.keys(node.variants);
    if (value[node.tag] !== undefined) {
      return this.#word({kind: 'values', values: names}, value[node.tag], [...path, node.tag]);
    }
    // Without its tag, all that can be said of other keys is whether any variant has them.
    const known = objectsOf(node).flatMap((keys) => Object.keys(keys));
    for (const name of Object.keys(value)) {
      if (!known.includes(name)) this.#unknown(path, name, known);
    }
    return this.#report(path, `needs the key ${node.tag}: ${names.join(', ')}`);
  }
}

/** Splits a list written as one text, as in the environment: `A;B*`. */
export function splitList(text: string): string[] {
  return text
    .split(';')
    .map((item) => item.trim())
    .filter((item) => item !== '');
}

/** Checks a parsed value. Without issues, `value` is its one form, without defaults. */
export function check(schema: Node, value: unknown): {value: unknown; issues: Issue[]} {
  const issue = unfit(value);
  if (issue !== undefined) return {value: undefined, issues: [issue]};
  const checker = new Checker(schema);
  const checked = checker.check(schema, value, []);
  return {value: checked, issues: checker.issues};
}
