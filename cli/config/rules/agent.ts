/**
 * Rules of the agent in a cluster.
 */

import {parseSocketAddress} from '../socket-address.ts';
import {error, type Finding, type Rule, warning, when} from './rule.ts';

/** Metrics are to be had at an address with a port. */
export const metricsAddress: Rule = ({config}) => {
  const {metrics} = config.agent;
  if (metrics === undefined) return [];
  const message = 'is not an address with a port, such as 0.0.0.0:9000 or [::]:9000';
  return when(parseSocketAddress(metrics) === undefined, error('agent.metrics', message));
};

/** What an agent asks for, and what mirrord's once did. */
const capabilities = ['NET_ADMIN', 'SYS_PTRACE', 'SYS_ADMIN', 'NET_RAW'];

/** Not to ask for what is never asked for is no mistake, but a name with a slip in it takes nothing away. */
export const knownCapabilities: Rule = ({config}) =>
  (config.agent.disabled_capabilities ?? []).flatMap((name, index): Finding[] =>
    when(
      !capabilities.includes(name.toUpperCase().replace(/^CAP_/, '')),
      warning(
        ['agent', 'disabled_capabilities', index],
        `is ${JSON.stringify(name)}, which the agent never asks for: it asks for NET_ADMIN, NET_RAW, SYS_PTRACE, SYS_ADMIN`,
      ),
    ),
  );
