/**
 * Rules of what goes with which target.
 */

import {error, type Rule, type Subject, warning, when} from './rule.ts';

/** Whether the session will have no target; an IDE may still choose one. */
function isTargetless({target, targetComesLater, config}: Subject): boolean {
  if (target.kind !== 'targetless') return false;
  return !(targetComesLater && config.target.path === undefined);
}

function copies({config}: Subject): boolean {
  return config.feature.copy_target?.enabled === true;
}

const copyTarget = 'feature.copy_target';

/** There is nothing to steal from without a target. */
export const stealNeedsTarget: Rule = (subject) =>
  when(
    isTargetless(subject) && subject.config.feature.network.incoming.mode === 'steal',
    error('feature.network.incoming.mode', 'can be steal with a target only'),
  );

/** An ephemeral container belongs to a pod. */
export const ephemeralNeedsTarget: Rule = (subject) =>
  when(
    isTargetless(subject) && subject.config.agent.ephemeral,
    error('agent.ephemeral', 'needs a target, whose pod the container joins'),
  );

/** Copies are an operator's work. */
export const copyNeedsOperator: Rule = (subject) =>
  when(
    copies(subject) && subject.config.operator === false,
    error(copyTarget, 'needs an operator, and operator is false'),
  );

/** There is nothing to copy without a target. */
export const copyNeedsTarget: Rule = (subject) =>
  when(copies(subject) && isTargetless(subject), error(copyTarget, 'needs a target to copy'));

/** Services and labels are not workloads that could be copied. */
export const copyNeedsWorkload: Rule = (subject) => {
  const {kind} = subject.target;
  const fits = kind !== 'service' && kind !== 'label';
  return when(copies(subject) && !fits, error(copyTarget, `can't copy a ${kind} target`));
};

/** A copy gets no traffic of its own: mirroring shows nothing. */
export const copyWithoutSteal: Rule = (subject) =>
  when(
    copies(subject) && subject.config.feature.network.incoming.mode !== 'steal',
    warning(
      copyTarget,
      'makes a copy that gets no traffic unless feature.network.incoming is steal',
    ),
  );

/** What a session on labels can't have. */
export const labelLimits: Rule = ({target, config}) => {
  if (target.kind !== 'label') return [];
  const {split_queues: queues, db_branches: branches} = config.feature;
  const empty = Object.keys(target.labels).length === 0;
  return [
    ...when(empty, error('target.path', 'needs at least one label')),
    ...when(config.multi_cluster === true, error('multi_cluster', 'excludes a label target')),
    ...when(queues !== undefined, error('feature.split_queues', 'excludes a label target')),
    ...when(branches.length > 0, error('feature.db_branches', 'excludes a label target')),
  ];
};

/** An ephemeral container runs in its pod's namespace. */
export const ephemeralIgnoresNamespace: Rule = ({config}) =>
  when(
    config.agent.ephemeral && config.agent.namespace !== undefined,
    warning('agent.namespace', "has no effect: an ephemeral agent is in the target's namespace"),
  );

/** Without a target the agent is where target.namespace says. */
export const targetlessIgnoresAgentNamespace: Rule = (subject) =>
  when(
    isTargetless(subject) && subject.config.agent.namespace !== undefined,
    warning('agent.namespace', 'has no effect without a target: target.namespace is used'),
  );

/** With an operator, it decides about the agent. */
export const operatorIgnoresAgent: Rule = ({config, given}) =>
  when(
    config.operator === true && given['agent'] !== undefined,
    warning('agent', 'has no effect: the operator decides about its agents'),
  );
