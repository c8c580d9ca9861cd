/**
 * The tunnel to an agent, as the layer holds it: up, with the target known, and with its end awaited.
 */

import {randomInt} from 'node:crypto';
import type {Duplex} from 'node:stream';
import type {ProtocolError} from '../tunnel/errors.ts';
import type {Mux} from '../tunnel/mux.ts';
import {callTarget, type TargetInfo} from '../tunnel/target.ts';
import {connectTunnel} from '../tunnel/websocket.ts';
import {MirrordError} from './errors.ts';

/** An agent on this machine needs some 200 ms; the rest is for a busy one. */
const readyTimeoutMs = 30_000;

export interface AgentLink extends Disposable {
  readonly mux: Mux;
  readonly target: TargetInfo;
  /** Resolves with the reason when the tunnel is over. */
  readonly closed: Promise<string>;
}

/** Unpredictable, in [0, 1): what the sans-IO rooms take as their source of randomness. */
export function secureRandom(): number {
  const steps = 2 ** 47;
  return randomInt(steps) / steps;
}

/** Connects and asks for the target. Throws MIRRORD_AGENT_FAILED, or what `explainEnd` makes of its end. */
export async function linkAgent(
  connection: Duplex,
  token: string,
  ended: Promise<Error>,
): Promise<AgentLink> {
  const ready = Promise.withResolvers<void>();
  const closed = Promise.withResolvers<string>();
  const failure = (error: ProtocolError | undefined): MirrordError =>
    new MirrordError(
      'MIRRORD_AGENT_FAILED',
      `the agent closed the tunnel: ${error?.message ?? 'no reason given'}`,
      {
        cause: error,
      },
    );
  const mux = connectTunnel(
    connection,
    {token: Buffer.from(token, 'hex'), random: secureRandom},
    {
      onReady: () => ready.resolve(),
      onClose(error) {
        closed.resolve(error?.message ?? 'it was closed');
        ready.reject(failure(error));
      },
    },
  );
  ready.promise.catch(() => undefined); // awaited below, unless the agent's own end says more
  try {
    const signal = AbortSignal.timeout(readyTimeoutMs);
    const target = await Promise.race([
      ready.promise.then(() => callTarget(mux, signal)),
      ended.then((error) => Promise.reject(error)),
    ]).catch(async (error: unknown) => {
      // A lost tunnel is but the symptom: give the agent a moment to say why it ended.
      const patience = new Promise<unknown>((resolve) => setTimeout(resolve, 200, error));
      throw await Promise.race([ended, patience]);
    });
    return {mux, target, closed: closed.promise, [Symbol.dispose]: () => mux[Symbol.dispose]()};
  } catch (error) {
    mux[Symbol.dispose]();
    throw error;
  }
}
