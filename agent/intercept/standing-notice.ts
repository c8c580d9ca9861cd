/** What a client hears of connections that stood before their port was stolen. */

import type {Log} from '../log.ts';
import {cutStanding, standingConnections} from './standing.ts';
import {type Subscription, warn} from './subscriptions.ts';

/** Cuts connections to a stolen port that stand, or tells that they stay the application's. */
export function lookAtStanding(
  subscription: Subscription,
  {counters, log}: {readonly counters: {cut: number}; readonly log: Log},
): void {
  const {port, flushConnections} = subscription.params;
  if (flushConnections === true) {
    const {count, failure} = cutStanding(port);
    counters.cut += count;
    log.info('standing connections', {port, cut: count, failure});
    if (failure !== undefined) warn(subscription, 'NOT_CUT', notCut(port, failure));
    return;
  }
  const count = countStanding(port);
  if (count > 0) warn(subscription, 'STANDING_CONNECTIONS', standing(port, count));
}

/** How many there are; 0 where they can't be counted: then there is nothing to say. */
function countStanding(port: number): number {
  try {
    return standingConnections(port).length;
  } catch {
    return 0;
  }
}

function standing(port: number, count: number): string {
  const [what, stay] = count === 1 ? ['1 connection', 'stays'] : [`${count} connections`, 'stay'];
  return `${what} to port ${port} stood before it was stolen, and ${stay} with the target until closed (agent.flush_connections: true cuts them)`;
}

function notCut(port: number, failure: string): string {
  return `connections to port ${port} that stood before it was stolen stay with the target: ${failure}; to have them here, have their clients connect again`;
}
