/**
 * Judges a configuration that fits the schema: what contradicts itself is an error, what is doubtful a
 * warning. Each rule is a function of its own, in `rules/`.
 */

import {MirrordError} from '../../layer/errors.ts';
import {deprecations} from './availability.ts';
import type {LoadedConfig} from './load.ts';
import * as agent from './rules/agent.ts';
import * as http from './rules/http.ts';
import * as rest from './rules/rest.ts';
import type {Finding, Rule} from './rules/rule.ts';
import * as targetRules from './rules/target.ts';
import * as traffic from './rules/traffic.ts';
import {allKinds, parseTarget, type Target, type TargetKind} from './target.ts';

/** All rules. */
export const rules: readonly Rule[] = [http, traffic, targetRules, agent, rest].flatMap((group) =>
  Object.values(group),
);

/** What verification says. */
export interface Verdict {
  target: Target;
  errors: Finding[];
  warnings: Finding[];
}

/** Applies every rule. `ide`: a missing target will be chosen later. */
export function verify(
  loaded: Pick<LoadedConfig, 'config' | 'given'>,
  options: {ide?: boolean} = {},
): Verdict {
  const {config, given} = loaded;
  let target: Target = {kind: 'targetless'};
  const found: Finding[] = [];
  try {
    target = parseTarget(config.target.path);
  } catch (error) {
    if (!(error instanceof MirrordError)) throw error;
    const message = error.message.replace(/^".*?" /s, '');
    found.push({severity: 'error', path: ['target', 'path'], message});
  }
  const subject = {config, given, target, targetComesLater: options.ide === true};
  for (const rule of rules) found.push(...rule(subject));
  found.push(...deprecations(given));
  return {
    target,
    errors: found.filter(({severity}) => severity === 'error'),
    warnings: found.filter(({severity}) => severity === 'warning'),
  };
}

/** The kinds of target that this configuration works with, for an IDE's list. */
export function compatibleKinds({config}: Pick<LoadedConfig, 'config'>): TargetKind[] {
  const {copy_target: copy, network, split_queues: queues, db_branches: branches} = config.feature;
  const copies = copy?.enabled === true;
  const withoutLabels =
    copies || config.multi_cluster === true || queues !== undefined || branches.length > 0;
  const needsTarget = copies || config.agent.ephemeral || network.incoming.mode === 'steal';
  return allKinds.filter((kind) => {
    if (kind === 'label') return !withoutLabels;
    if (kind === 'targetless') return !needsTarget;
    if (kind === 'service') return !copies;
    return true;
  });
}
