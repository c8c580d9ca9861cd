/**
 * The tunnel to an agent, as the layer holds it: up, with the target known, and with its end awaited. Where
 * another connection can be made, it outlives the one that it began with (tunnel/resume.ts).
 */

import {randomInt} from 'node:crypto';
import type {Duplex} from 'node:stream';
import type {ProtocolError} from '../tunnel/errors.ts';
import type {Mux} from '../tunnel/mux.ts';
import {callTarget, type TargetInfo} from '../tunnel/target.ts';
import type {MuxStream} from '../tunnel/types.ts';
import {connectTunnel} from '../tunnel/websocket.ts';
import {MirrordError} from './errors.ts';

/** An agent on this machine needs some 200 ms; the rest is for a busy one. */
const readyTimeoutMs = 30_000;
/** A shorter interruption is nobody's concern, ms. */
const noticeAfterMs = 1000;

export interface AgentLink extends Disposable {
  readonly mux: Mux;
  readonly target: TargetInfo;
  /** Takes the streams that the agent opens; without it they are refused. */
  onStream: ((stream: MuxStream, body: Uint8Array) => void) | undefined;
  /** Resolves with the reason when the tunnel is over. */
  readonly closed: Promise<string>;
}

/** How a lost connection is replaced, and who hears of it. */
export interface Reconnection {
  /** Makes another connection to the same agent. */
  reconnect: () => Promise<Duplex>;
  /** How long it is tried, s; 60 by default. */
  windowSeconds?: number | undefined;
  warn: (message: string) => void;
  info: (message: string) => void;
}

/** Unpredictable, in [0, 1): what the sans-IO rooms take as their source of randomness. */
export function secureRandom(): number {
  const steps = 2 ** 47;
  return randomInt(steps) / steps;
}

/** Tells of an interruption that one may feel, and of its end. */
function interruptionNotices({warn, info}: Reconnection) {
  let timer: NodeJS.Timeout | undefined;
  let isTold = false;
  const clear = (): void => clearTimeout(timer);
  return {
    onSuspended() {
      timer = setTimeout(() => {
        isTold = true;
        warn('the connection to the agent is lost; connecting again, the program waits');
      }, noticeAfterMs);
    },
    onResumed() {
      clear();
      if (isTold) info('the connection to the agent is back');
      isTold = false;
    },
    clear,
  };
}

/** Connects and asks for the target. Throws MIRRORD_AGENT_FAILED, or what `explainEnd` makes of its end. */
export async function linkAgent(
  connection: Duplex,
  token: string,
  ended: Promise<Error>,
  reconnection?: Reconnection,
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
  const notices = reconnection && interruptionNotices(reconnection);
  let link: AgentLink | undefined;
  const mux = connectTunnel(
    connection,
    {
      token: Buffer.from(token, 'hex'),
      random: secureRandom,
      ...(reconnection !== undefined && {
        reconnect: reconnection.reconnect,
        ...(reconnection.windowSeconds !== undefined && {
          resumeWindowMs: reconnection.windowSeconds * 1000,
        }),
      }),
    },
    {
      ...notices,
      onReady: () => ready.resolve(),
      onOpen(stream, body) {
        if (link?.onStream === undefined) stream.refuse('EOPNOTSUPP');
        else link.onStream(stream, body);
      },
      onClose(error) {
        notices?.clear();
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
    // It won't come back, so nobody waits for it.
    if (reconnection !== undefined) void ended.then(() => mux.close('CONNECTION_LOST'));
    link = {
      mux,
      target,
      onStream: undefined,
      closed: closed.promise,
      [Symbol.dispose]: () => mux[Symbol.dispose](),
    };
    return link;
  } catch (error) {
    mux[Symbol.dispose]();
    throw error;
  }
}
