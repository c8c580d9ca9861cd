/**
 * Rules of variables, files, branches and the rest.
 */

import {patternProblem} from '../patterns.ts';
import {error, type Finding, type Rule, warning, when} from './rule.ts';

/** A list of variables to take and one to leave contradict each other. */
export const includeOrExclude: Rule = ({config}) => {
  const {include, exclude} = config.feature.env;
  const both = include !== undefined && exclude !== undefined;
  return when(both, error('feature.env.exclude', 'excludes include: use one of the two'));
};

/** The names of a mapping are regular expressions. */
export const validEnvMapping: Rule = ({config}) =>
  Object.keys(config.feature.env.mapping ?? {}).flatMap((pattern): Finding[] => {
    const problem = patternProblem(pattern);
    if (problem === undefined) return [];
    const path = ['feature', 'env', 'mapping', pattern];
    return [error(path, `is not a regular expression: ${problem}`)];
  });

/** Patterns of paths and sockets are regular expressions. */
export const validPathPatterns: Rule = ({config}) => {
  const {fs, network} = config.feature;
  const lists = {
    'feature.fs.read_write': fs.read_write,
    'feature.fs.read_only': fs.read_only,
    'feature.fs.local': fs.local,
    'feature.fs.not_found': fs.not_found,
    'feature.fs.mapping': Object.keys(fs.mapping ?? {}),
    'feature.network.outgoing.unix_streams': network.outgoing.unix_streams,
  };
  return Object.entries(lists).flatMap(([path, patterns = []]) =>
    patterns.flatMap((pattern, index): Finding[] => {
      const problem = patternProblem(pattern);
      const at = path.endsWith('mapping') ? pattern : index;
      return when(
        problem !== undefined,
        error([...path.split('.'), at], `is not a regular expression: ${problem}`),
      );
    }),
  );
};

const mebibyte = 1024 * 1024;

/** Read-ahead goes through the agent in one piece. */
export const fileBufferBounded: Rule = ({config}) => {
  const path = 'feature.fs.readonly_file_buffer';
  const bytes = config.feature.fs.readonly_file_buffer;
  if (bytes > 15 * mebibyte) return [error(path, `is ${bytes} bytes; 15 MiB is the most`)];
  return when(
    bytes > mebibyte,
    warning(path, `is ${bytes} bytes; above 1 MiB it slows reads down`),
  );
};

/** The waits of retries are in order. */
export const retryInOrder: Rule = ({config}) => {
  const {min_ms: min, max_ms: max} = config.startup_retry;
  return [
    ...when(max === 0, error('startup_retry.max_ms', 'must not be 0')),
    ...when(min > max, error('startup_retry.min_ms', `is ${min}, above max_ms, which is ${max}`)),
  ];
};

/** A preview that starts asleep needs something that can wake it: traffic that it gets. */
export const idleNeedsWakeSource: Rule = ({config}) => {
  const {preview, network, split_queues: queues} = config.feature;
  const sleeps =
    preview?.idle?.start_idle === true || preview?.idle?.sleep_after_secs !== undefined;
  const wakes = network.incoming.mode !== 'off' || queues !== undefined;
  const message = 'needs something to wake it: incoming traffic or split_queues';
  return when(sleeps && !wakes, error('feature.preview.idle', message));
};

/** Minutes and seconds of the same time exclude each other. */
export const oneLifetime: Rule = ({config}) => {
  const {preview, db_branches: branches} = config.feature;
  const both = (value: object = {}): boolean => 'ttl_mins' in value && 'ttl_secs' in value;
  const message = 'excludes ttl_mins: use one of the two';
  return [
    ...when(both(preview), error('feature.preview.ttl_secs', message)),
    ...branches.flatMap((branch, index) =>
      when(both(branch), error(['feature', 'db_branches', index, 'ttl_secs'], message)),
    ),
  ];
};

/** The names of variables in a connection, wherever they are. */
function variablesIn(value: unknown): string[] {
  if (typeof value === 'string') return [value];
  if (typeof value !== 'object' || value === null) return [];
  const {variable, env_var_name: local} = value as Record<string, unknown>;
  const named = [variable, local].filter((name) => typeof name === 'string');
  if (named.length > 0 || 'secret_ref' in value || 'key' in value) return named;
  return Object.entries(value).flatMap(([name, inner]) =>
    name === 'type' ? [] : variablesIn(inner),
  );
}

/** The operator sets a branch's variables: overriding them would undo it. */
export const branchVariablesNotOverridden: Rule = ({config}) => {
  const overridden = config.feature.env.override ?? {};
  return config.feature.db_branches.flatMap((branch, index) =>
    variablesIn(branch.connection)
      .filter((name) => Object.hasOwn(overridden, name))
      .map((name) =>
        error(
          ['feature', 'env', 'override', name],
          `is also set by the connection of feature.db_branches[${index}]`,
        ),
      ),
  );
};
