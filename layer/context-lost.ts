/** The end of a target, or of its agent, under whoever is in its context. */

import {subscribeLifecycle} from '../tunnel/target.ts';
import type {AgentLink} from './agent-link.ts';
import {MirrordError} from './errors.ts';

/** Resolves when the context is gone, with what to tell the person; `consequence` is what follows from it here. */
export async function contextLost(
  {mux, closed}: Pick<AgentLink, 'mux' | 'closed'>,
  consequence: string,
): Promise<MirrordError> {
  const targetGone = new Promise<MirrordError>((resolve) => {
    const gone = (): void =>
      resolve(
        new MirrordError('MIRRORD_TARGET_GONE', `the target has ended; ${consequence}`, {
          hint: 'run again when it is back',
        }),
      );
    subscribeLifecycle(mux, gone, () => undefined);
  });
  const agentGone = closed.then(
    (reason) =>
      new MirrordError('MIRRORD_AGENT_GONE', `the agent is gone (${reason}); ${consequence}`, {
        hint: 'the agent was killed, or the target and all with it: check the target, then run again',
      }),
  );
  return await Promise.race([agentGone, targetGone]);
}
