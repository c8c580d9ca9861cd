/**
 * The program's environment: the local variables, the pod's, and what the person configured (mirrord's
 * `feature.env`). Pure.
 *
 * Each step goes over what the steps before it made:
 *
 *     local     what mirrord was called with
 *     pod       after `include` and `exclude`, and never what describes its machine (exclusions.ts)
 *     file      the variables of `env_file`
 *     mapping   new values for variables of the pod and the file, by the name
 *     override  values of the person's own
 *     unset     deletes, from all of the above
 */

import {MirrordError} from '../errors.ts';
import {compilePattern} from '../pattern.ts';
import {isExcluded} from './exclusions.ts';
import {compileGlobs} from './glob.ts';

/** Variables by name; one that is undefined is absent. */
export type Variables = Readonly<Record<string, string | undefined>>;

/** The environment feature, as `feature.env` of the configuration has it. */
export interface EnvironmentOptions {
  /** Only variables of the pod that match one of these globs; all by default. */
  include?: readonly string[];
  /** Not the variables of the pod that match one of these globs. */
  exclude?: readonly string[];
  /** What `env_file` has, read by `readEnvFile`. */
  file?: Variables;
  /** Regular expressions, each found somewhere in a name, with the value for such variables; the first wins. */
  mapping?: Readonly<Record<string, string>>;
  /** Values that win over all others. */
  override?: Variables;
  /** Names to delete; upper and lower case are the same here. */
  unset?: readonly string[];
}

/** Which variables of the pod are taken. */
function createFilter({include, exclude}: EnvironmentOptions): (name: string) => boolean {
  const isIncluded = include === undefined ? () => true : compileGlobs(include);
  const isLeftOut = compileGlobs(exclude ?? []);
  return (name) => !isExcluded(name) && isIncluded(name) && !isLeftOut(name);
}

/** Compiles a key of the mapping. Throws MIRRORD_ENV_PATTERN_INVALID. */
function compileKey(pattern: string): RegExp {
  try {
    return compilePattern(pattern);
  } catch (cause) {
    throw new MirrordError(
      'MIRRORD_ENV_PATTERN_INVALID',
      `"${pattern}" in feature.env.mapping is no regular expression: ${(cause as Error).message}`,
      {
        hint: 'its keys are regular expressions on names of variables, its values are new values',
        cause,
      },
    );
  }
}

/** What a mapping makes of a variable's value. */
function createMapping(mapping: Readonly<Record<string, string>>) {
  const rules = Object.entries(mapping).map(([key, value]) => ({
    pattern: compileKey(key),
    value,
  }));
  return (name: string, value: string): string =>
    rules.find(({pattern}) => pattern.test(name))?.value ?? value;
}

/** Puts variables over those in `all`. */
function overlay(all: Map<string, string>, variables: Variables): void {
  for (const [name, value] of Object.entries(variables)) {
    if (value !== undefined) all.set(name, value);
  }
}

/** Makes the program's environment. Throws MIRRORD_ENV_PATTERN_INVALID. */
export function mergeEnvironment(
  local: Variables,
  pod: Variables,
  options: EnvironmentOptions = {},
): Record<string, string> {
  const isTaken = createFilter(options);
  const remote = new Map<string, string>();
  overlay(remote, Object.fromEntries(Object.entries(pod).filter(([name]) => isTaken(name))));
  overlay(remote, options.file ?? {});
  const map = createMapping(options.mapping ?? {});
  const merged = new Map<string, string>();
  overlay(merged, local);
  for (const [name, value] of remote) merged.set(name, map(name, value));
  overlay(merged, options.override ?? {});
  const unset = new Set(options.unset?.map((name) => name.toLowerCase()));
  return Object.fromEntries([...merged].filter(([name]) => !unset.has(name.toLowerCase())));
}
