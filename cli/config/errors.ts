/**
 * What a person gets to read when a configuration is wrong: every problem, each with its place.
 */

import {MirrordError} from '../../layer/errors.ts';

/** Puts the source in front of a problem: `mirrord.json:3:5: is not JSON`, `mirrord.json is too large`. */
function place(problem: string, source: string): string {
  return /^\d+:\d+: /.test(problem) ? `${source}:${problem}` : `${source} ${problem}`;
}

/** A configuration that can't be used. `problems` are sentences, each for itself. */
export class ConfigError extends MirrordError {
  readonly problems: readonly string[];

  /** `source`: the text that the problems are of, where they don't begin with their place themselves. */
  constructor(unplaced: readonly string[], source?: string, cause?: unknown) {
    const problems =
      source === undefined ? unplaced : unplaced.map((problem) => place(problem, source));
    const told =
      problems.length === 1 ? ` ${problems[0]}` : problems.map((p) => `\n  ${p}`).join('');
    super('MIRRORD_CONFIG_INVALID', `the configuration can't be used:${told}`, {
      hint: 'all keys: mirrord config schema, and docs/configuration.md',
      ...(cause !== undefined && {cause}),
    });
    this.problems = problems;
  }
}
