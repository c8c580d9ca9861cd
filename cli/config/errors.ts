/**
 * What a person gets to read when a configuration is wrong: every problem, each with its place.
 */

import {MirrordError} from '../../layer/errors.ts';

/** A configuration that can't be used. `problems` are sentences, each for itself. */
export class ConfigError extends MirrordError {
  readonly problems: readonly string[];

  constructor(problems: readonly string[], source?: string, cause?: unknown) {
    // Problems that have a place begin with the file's name themselves.
    const placed = source === undefined || problems.every((problem) => problem.startsWith(source));
    const where = placed ? 'the configuration' : source;
    const told =
      problems.length === 1 ? ` ${problems[0]}` : problems.map((p) => `\n  ${p}`).join('');
    super('MIRRORD_CONFIG_INVALID', `${where} can't be used:${told}`, {
      hint: 'all keys: mirrord config schema, and docs/configuration.md',
      ...(cause !== undefined && {cause}),
    });
    this.problems = problems;
  }
}
