/**
 * One call for commands that run something: loads, verifies, and says what to warn about.
 */

import {unavailable} from './availability.ts';
import {ConfigError} from './errors.ts';
import {type LoadedConfig, type LoadOptions, loadConfig} from './load.ts';
import type {Finding} from './rules/rule.ts';
import type {Target} from './target.ts';
import {verify} from './verify.ts';

/** A configuration that may be used. */
export interface PreparedConfig extends LoadedConfig {
  target: Target;
  /** Sentences with their places. */
  warnings: readonly string[];
}

/** Loads and verifies. Throws MIRRORD_CONFIG_NOT_FOUND and MIRRORD_CONFIG_INVALID. */
export function prepareConfig(options: LoadOptions & {ide?: boolean}): PreparedConfig {
  const loaded = loadConfig(options);
  const {target, errors, warnings} = verify(loaded, {ide: options.ide === true});
  const tell = ({path, message}: Finding): string => loaded.locate(path, message);
  if (errors.length > 0) throw new ConfigError(errors.map(tell));
  return {...loaded, target, warnings: [...warnings, ...unavailable(loaded)].map(tell)};
}
