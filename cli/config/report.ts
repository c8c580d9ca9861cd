/**
 * What `verify-config` prints: stable, as IDE plugins read it.
 */

import {MirrordError} from '../../layer/errors.ts';
import {ConfigError} from './errors.ts';
import type {LoadOptions} from './load.ts';
import {type PreparedConfig, prepareConfig} from './prepare.ts';
import type {ResolvedConfig} from './schema/root.ts';
import {type TargetKind, targetObject} from './target.ts';
import {compatibleKinds} from './verify.ts';

/** The report on a configuration. */
export type Report =
  | {
      type: 'Success';
      config: {path: object | 'targetless' | null; namespace: string | null};
      warnings: readonly string[];
      compatible_target_types: readonly TargetKind[];
      resolved_config?: ResolvedConfig;
    }
  | {type: 'Fail'; errors: readonly string[]};

function success(prepared: PreparedConfig, resolved: boolean): Report {
  const {config, target, warnings} = prepared;
  return {
    type: 'Success',
    config: {
      path: config.target.path === undefined ? null : targetObject(target),
      namespace: config.target.namespace ?? null,
    },
    warnings,
    compatible_target_types: compatibleKinds(prepared),
    ...(resolved && {resolved_config: config}),
  };
}

/** Loads and verifies a configuration; what a person can mend becomes part of the report. */
export function reportOn(
  options: LoadOptions & {ide?: boolean; resolved?: boolean | undefined},
): Report {
  try {
    return success(prepareConfig(options), options.resolved === true);
  } catch (error) {
    if (error instanceof ConfigError) return {type: 'Fail', errors: error.problems};
    if (error instanceof MirrordError) return {type: 'Fail', errors: [error.message]};
    throw error;
  }
}
