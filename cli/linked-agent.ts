/**
 * An agent with the tunnel to it, for commands that run no program: their traffic needs no namespaces of its own.
 */

import {type AgentLink, linkAgent} from '../layer/agent-link.ts';
import {contextLost} from '../layer/context-lost.ts';
import type {MirrordError} from '../layer/errors.ts';
import {createLog} from '../layer/log.ts';
import {type Agent, openAgent} from './agents.ts';
import type {ResolvedConfig} from './config/schema/root.ts';
import type {Target} from './config/target.ts';
import {inherited} from './inherited.ts';
import {type Interruption, watchForInterruption} from './interruption.ts';
import type {Progress} from './progress.ts';

export interface LinkedAgent extends AsyncDisposable {
  readonly agent: Agent;
  readonly link: AgentLink;
  readonly interruption: Interruption;
  /** Returns when a signal asks for the end; throws when the target or the agent is gone, or what `failed` says. */
  untilInterrupted(...failed: Promise<MirrordError>[]): Promise<void>;
}

/**
 * Watches for signals, also for those that mirrord was called to ignore, but for SIGHUP, as `nohup` wants it: a shell calls
 * whatever runs in a script's background to ignore SIGINT, which nevertheless is how it is ended.
 */
function watchAll(mask = '0'): Interruption {
  const hangUp = BigInt(`0x${mask}`) & 1n;
  return watchForInterruption(hangUp.toString(16));
}

/** Starts the agent and connects. Throws what `openAgent` and `linkAgent` throw, and MIRRORD_INTERRUPTED. */
export async function openLinkedAgent(
  target: Target,
  config: ResolvedConfig,
  progress: Progress,
): Promise<LinkedAgent> {
  await using disposables = new AsyncDisposableStack();
  const log = createLog(process.env['MIRRORD_LOG']);
  const interruption = watchAll(inherited.signalsIgnored);
  const {signal, orGiveUp} = interruption;
  const agent = disposables.use(await openAgent(target, config, {progress, log, signal}));
  const {warn, info} = progress;
  const {reconnect} = agent;
  const windowSeconds = config.agent.resume_window;
  const reconnection = reconnect && {reconnect, windowSeconds, warn, info};
  const link = disposables.use(
    await progress.step('connecting to the agent', () =>
      orGiveUp(linkAgent(agent.connection, agent.token, agent.ended, reconnection)),
    ),
  );
  const interrupted = new Promise<undefined>((resolve) => {
    signal.addEventListener('abort', () => resolve(undefined), {once: true});
  });
  const kept = disposables.move();
  return {
    agent,
    link,
    interruption,
    async untilInterrupted(...failed) {
      const lost = contextLost(link, 'nothing more comes');
      const error = await Promise.race([interrupted, lost, ...failed]);
      if (error !== undefined) throw error;
    },
    [Symbol.asyncDispose]: async () => await kept.disposeAsync(),
  };
}
