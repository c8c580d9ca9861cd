/**
 * Where a path is read and written: on this machine, in the pod, or nowhere. Pure.
 *
 * Theory of operation. A path is first mapped (`feature.fs.mapping`, the first key that matches), then asked
 * about in mirrord's order; the first rule that has an opinion decides:
 *
 *     mode local                    this machine
 *     not_found                     nowhere
 *     read_write                    the pod
 *     read_only                     the pod to read, this machine to write
 *     local                         this machine
 *     auto_mount                    the pod, but only to read: what is mounted into its container
 *     mirrord's not-found list      nowhere
 *     mirrord's remote list         the pod, but only to read
 *     mirrord's local list          this machine
 *     mode localwithoverrides       this machine
 *     mode write                    the pod
 *     mode read                     the pod to read, this machine to write
 *
 * Without a target there is nothing that a mode could read by itself: all but `local` become
 * `localwithoverrides`.
 */

import {MirrordError} from '../errors.ts';
import {compilePattern} from '../pattern.ts';
import {
  hiddenRules,
  localRules,
  remoteRules,
  type Surroundings,
  treeRule,
} from './default-rules.ts';

export type FileMode = 'local' | 'localwithoverrides' | 'read' | 'write';
/** What is about to happen to a path. Looking at it is reading. */
export type Access = 'read' | 'write';
export type Place = 'local' | 'remote' | 'not-found';

/** What the configuration says about files. Patterns are regular expressions on paths, without regard to case. */
export interface FileRules {
  readonly mode: FileMode;
  readonly readWrite: readonly string[];
  readonly readOnly: readonly string[];
  readonly local: readonly string[];
  readonly notFound: readonly string[];
  /** By a regular expression: what a path that matches becomes; `$1` is what its first group matched. */
  readonly mapping: Readonly<Record<string, string>>;
  /** Where volumes are mounted in the target (`feature.magic.auto_mount`). */
  readonly mounted?: readonly string[];
  /** Whether there is no target. */
  readonly isTargetless?: boolean;
}

/** Where a path is, for one access, and why. */
export interface Decision {
  readonly place: Place;
  /** The rule that decided, as a person would look for it. */
  readonly rule: string;
}

export interface FilePolicy {
  /** The mode that is in force. */
  readonly mode: FileMode;
  /** The path that is opened in place of `path`. */
  map(path: string): string;
  /** Decides about a path that `map` has returned: absolute, without `.`, `..` or a slash at its end. */
  decide(path: string, access: Access): Decision;
}

/** A list of rules with the name that a decision gets from it. */
interface List {
  readonly name: string;
  readonly rules: readonly {readonly written: string; readonly pattern: RegExp}[];
}

function compile(pattern: string, name: string): RegExp {
  try {
    return compilePattern(pattern, 'i');
  } catch (error) {
    throw new MirrordError(
      'MIRRORD_FILE_PATTERN_INVALID',
      `${name}: ${pattern} is no regular expression`,
      {hint: 'mend it in the configuration', cause: error},
    );
  }
}

function list(name: string, written: readonly string[]): List {
  return {name, rules: written.map((rule) => ({written: rule, pattern: compile(rule, name)}))};
}

/** The rule of a list that matches, in words. */
function match({name, rules}: List, path: string): string | undefined {
  const rule = rules.find(({pattern}) => pattern.test(path));
  return rule && `${name}: ${rule.written}`;
}

/**
 * The replacement of a mapping in JavaScript's words: Rust knows `$1`, `${1}`, `$name` and `${name}`, takes
 * the longest name, and has nothing for one that is not there.
 */
function replacement(written: string): (found: RegExpExecArray) => string {
  return (found) =>
    written.replace(/\$(?:\$|(\w+)|\{(\w+)\})/g, (sign, plain?: string, braced?: string) => {
      const name = plain ?? braced;
      if (name === undefined) return sign === '$$' ? '$' : sign;
      return (/^\d+$/.test(name) ? found[Number(name)] : found.groups?.[name]) ?? '';
    });
}

/** mirrord asks without regard to case whether a key matches, but replaces with regard to it. */
function mapper(mapping: Readonly<Record<string, string>>): (path: string) => string {
  const name = 'feature.fs.mapping';
  const rules = Object.entries(mapping).map(([key, value]) => {
    const insensitive = compile(key, name);
    return {
      asked: insensitive,
      replaced: new RegExp(insensitive.source, `${insensitive.flags.replace('i', '')}g`),
      by: replacement(value),
    };
  });
  return (path) => {
    const rule = rules.find(({asked}) => asked.test(path));
    if (rule === undefined) return path;
    let mapped = '';
    let end = 0;
    for (const found of path.matchAll(rule.replaced)) {
      mapped += path.slice(end, found.index) + rule.by(found as RegExpExecArray);
      end = found.index + found[0].length;
    }
    return normalise(mapped + path.slice(end));
  };
}

/** An absolute path without `.`, `..`, empty parts or a slash at its end. */
export function normalise(path: string): string {
  const parts: string[] = [];
  for (const part of path.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '' && part !== '.') parts.push(part);
  }
  return `/${parts.join('/')}`;
}

/** Makes the policy of a configuration. Throws MIRRORD_FILE_PATTERN_INVALID. */
export function filePolicy(rules: FileRules, around: Surroundings): FilePolicy {
  const isOverruled = rules.isTargetless === true && rules.mode !== 'local';
  const mode = isOverruled ? 'localwithoverrides' : rules.mode;
  const byMode = `feature.fs.mode: ${mode}${isOverruled ? ', as without a target' : ''}`;
  const notFound = list('feature.fs.not_found', rules.notFound);
  const readWrite = list('feature.fs.read_write', rules.readWrite);
  const readOnly = list('feature.fs.read_only', rules.readOnly);
  const local = list('feature.fs.local', rules.local);
  const mounted = list('feature.magic.auto_mount', (rules.mounted ?? []).map(treeRule));
  const hidden = list("mirrord's not-found list", hiddenRules(around));
  const remote = list("mirrord's remote list", remoteRules());
  const ours = list("mirrord's local list", localRules(around));
  const map = mapper(rules.mapping);

  const decide = (path: string, access: Access): Decision => {
    const isRead = access === 'read';
    if (mode === 'local') return {place: 'local', rule: 'feature.fs.mode: local'};
    let rule = match(notFound, path);
    if (rule !== undefined) return {place: 'not-found', rule};
    rule = match(readWrite, path);
    if (rule !== undefined) return {place: 'remote', rule};
    rule = match(readOnly, path);
    if (rule !== undefined) return {place: isRead ? 'remote' : 'local', rule};
    rule = match(local, path);
    if (rule !== undefined) return {place: 'local', rule};
    rule = isRead ? match(mounted, path) : undefined;
    if (rule !== undefined) return {place: 'remote', rule};
    rule = match(hidden, path);
    if (rule !== undefined) return {place: 'not-found', rule};
    rule = isRead ? match(remote, path) : undefined;
    if (rule !== undefined) return {place: 'remote', rule};
    rule = match(ours, path);
    if (rule !== undefined) return {place: 'local', rule};
    const isRemote = mode === 'write' || (mode === 'read' && isRead);
    return {place: isRemote ? 'remote' : 'local', rule: byMode};
  };
  return {mode, map, decide};
}
