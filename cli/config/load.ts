/**
 * Loads the configuration: file, templates, environment, flags, defaults.
 *
 * Theory of operation. The text is rendered before it is parsed, so a template may make any part of it. The
 * session key is a variable of the template and a value of the file at once; as in mirrord, it is pulled from
 * the text as it stands (which must parse for that), rendered with the branch only, and then the whole text
 * is rendered with it. What comes out is checked against the schema, then the environment and the flags are
 * laid over it, and last the defaults are filled in. `verify.ts` judges the result.
 */

import {randomBytes} from 'node:crypto';
import {check, type Issue} from './check.ts';
import {fill} from './defaults.ts';
import {ConfigError} from './errors.ts';
import {gitBranch} from './git.ts';
import {fromEnvironment, type Override, overlay, valueAt} from './overlay.ts';
import {parseConfig} from './parse.ts';
import {formatPath, type Path} from './path.ts';
import {type Position, positionsIn} from './position.ts';
import {type ResolvedConfig, root} from './schema/root.ts';
import {isRecord} from './schema/walk.ts';
import {configFile, readSource, type Source} from './source.ts';
import {isTemplate, renderTemplate} from './template.ts';

/** From what to load. */
export interface LoadOptions {
  /** The value of `-f`: a path, `-`, or true without a value. */
  file?: string | true | undefined;
  env: Readonly<Record<string, string | undefined>>;
  /** What the other flags say (`flags.ts`). */
  flags?: readonly Override[];
  /** Where relative paths begin; by default the working directory. */
  directory?: string;
}

/** A configuration that fits the schema. */
export interface LoadedConfig {
  config: ResolvedConfig;
  /** What was said by file, environment and flags, in the same form but without defaults. */
  given: Record<string, unknown>;
  overrides: readonly Override[];
  /** The file's name for messages; undefined without a file. */
  file: string | undefined;
  /** Whether nobody chose the session key. */
  keyIsGenerated: boolean;
  /** Writes a finding with its place: `mirrord.json:3:5: feature.fs.mode …`. */
  locate(path: Path, message: string): string;
}

type Variables = Readonly<Record<string, string | undefined>>;

/** The key that the file asks for, if its text parses as it stands. */
function keyInFile(source: Source, env: Variables, branch: string | undefined): string | undefined {
  let parsed: unknown;
  try {
    parsed = parseConfig(source.text, source.format, source.name);
  } catch (error) {
    if (error instanceof ConfigError) return undefined; // a template that only rendering makes well-formed
    throw error;
  }
  const key = isRecord(parsed) && Object.hasOwn(parsed, 'key') ? parsed['key'] : undefined;
  if (typeof key !== 'string') return undefined;
  return renderTemplate(key, {variables: {git_branch: branch}, env}, `${source.name}: key`);
}

/** How findings are written: with the place in the file, or with the flag or variable they come from. */
function locator(
  source: Source | undefined,
  text: string,
  overrides: readonly Override[],
): {locate: LoadedConfig['locate']; duplicates: string[]} {
  if (source === undefined) {
    return {locate: (path, message) => tell(path, message, overrides), duplicates: []};
  }
  const positions = positionsIn(text, source.format);
  // Places are of the rendered text; that is the file's own unless a template changed the lines.
  const moved = text.split('\n').length !== source.text.split('\n').length;
  const name = moved ? `${source.name} (rendered)` : source.name;
  const at = ({line, column}: Position): string => `${name}:${line}:${column}: `;
  return {
    locate: (path, message) => {
      const place = originOf(path, overrides) === undefined ? positions.find(path) : undefined;
      return (place === undefined ? '' : at(place)) + tell(path, message, overrides);
    },
    duplicates: positions.duplicates.map((duplicate) => at(duplicate) + duplicate.message),
  };
}

function originOf(path: Path, overrides: readonly Override[]): string | undefined {
  const [first] = path;
  if (typeof first === 'string' && /^[$-]/.test(first)) return first;
  return overrides.findLast((one) => one.path.every((step, index) => path[index] === step))?.origin;
}

function tell(path: Path, message: string, overrides: readonly Override[]): string {
  const origin = originOf(path, overrides);
  if (origin !== undefined && origin === path[0]) return `${origin} ${message}`;
  const what = path.length === 0 ? 'the configuration' : formatPath(path);
  return origin === undefined ? `${what} ${message}` : `${what} (from ${origin}) ${message}`;
}

/**
 * Loads a configuration. Throws MIRRORD_CONFIG_NOT_FOUND, and MIRRORD_CONFIG_INVALID with every problem and
 * its place.
 */
export function loadConfig(options: LoadOptions): LoadedConfig {
  const {env, flags = [], directory = process.cwd()} = options;
  const file = configFile(options.file, env);
  const source = file === undefined ? undefined : readSource(file, directory);
  const fromEnv = fromEnvironment(env);
  // A flag leaves its variable without a say, so that messages name the one that counts.
  const overrides = [...fromEnv.overrides, ...flags].filter(
    ({path}, index, all) =>
      all.findLastIndex((other) => other.path.join('.') === path.join('.')) === index,
  );
  const branch =
    source !== undefined && isTemplate(source.text) ? gitBranch(env, directory) : undefined;

  const chosenKey = overrides.find(({path}) => path.join('.') === 'key')?.value;
  const fileKey = source === undefined ? undefined : keyInFile(source, env, branch);
  const key = typeof chosenKey === 'string' ? chosenKey : fileKey;
  const sessionKey = key ?? randomBytes(3).toString('hex').slice(0, 5);

  const scope = {variables: {key: sessionKey, git_branch: branch}, env};
  const text = source === undefined ? '' : renderTemplate(source.text, scope, source.name);
  const parsed = source === undefined ? {} : parseConfig(text, source.format, source.name);
  const {locate, duplicates} = locator(source, text, overrides);

  const checked = check(root, parsed);
  const fail = (issues: readonly Issue[]): void => {
    const problems = [...duplicates, ...issues.map(({path, message}) => locate(path, message))];
    if (problems.length > 0) throw new ConfigError(problems);
  };
  fail([...fromEnv.issues, ...checked.issues]);
  const laid = overlay(isRecord(checked.value) ? checked.value : {}, overrides);
  fail(laid.issues);

  const given = laid.value;
  const config = fill(root, {...given, key: sessionKey}) as ResolvedConfig;
  const keyIsGenerated = key === undefined && valueAt(given, ['key']) === undefined;
  return {config, given, overrides, file: source?.name, keyIsGenerated, locate};
}
