/**
 * What a rule is: a pure function from a configuration to what is wrong or doubtful in it.
 */

import type {Path} from '../path.ts';
import type {ResolvedConfig} from '../schema/root.ts';
import type {Target} from '../target.ts';

/** What a rule finds. An error stops a session, a warning is told. */
export interface Finding {
  severity: 'error' | 'warning';
  path: Path;
  message: string;
}

/** What a rule looks at. */
export interface Subject {
  config: ResolvedConfig;
  /** What the person said, in the same form but without defaults. */
  given: Record<string, unknown>;
  target: Target;
  /** An IDE asks: a missing target will be chosen later. */
  targetComesLater: boolean;
}

/** One rule. */
export type Rule = (subject: Subject) => Finding[];

/** Makes an error at a key, given by its names. */
export function error(path: string | Path, message: string): Finding {
  return {severity: 'error', path: typeof path === 'string' ? path.split('.') : path, message};
}

/** Makes a warning at a key, given by its names. */
export function warning(path: string | Path, message: string): Finding {
  return {severity: 'warning', path: typeof path === 'string' ? path.split('.') : path, message};
}

/** The finding if the condition holds. */
export function when(condition: boolean, ...found: Finding[]): Finding[] {
  return condition ? found : [];
}

/** Values that occur more than once. */
export function repeated<T>(values: readonly T[]): T[] {
  return [...new Set(values.filter((value, index) => values.indexOf(value) !== index))];
}
