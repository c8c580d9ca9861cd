/**
 * Ctrl-C and its like before the program runs: mirrord then removes what it has made in the cluster, and
 * ends as a shell would say that a signal ended it.
 *
 * Once the program runs, signals are its own: the native relay (`relaySignals`) takes the kernel's handlers
 * over, so nothing comes here any more. The handlers are never taken back, which would undo that.
 */

import os from 'node:os';
import {MirrordError} from '../layer/errors.ts';

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
/** What a caller may want ignored: nohup SIGHUP, a script's background job SIGINT and SIGQUIT. */
const ignorable = [...signals, 'SIGQUIT', 'SIGUSR2'] as const;

function isIn(mask: string, signal: NodeJS.Signals): boolean {
  return ((BigInt(`0x${mask}`) >> BigInt(os.constants.signals[signal] - 1)) & 1n) !== 0n;
}

/** Ignores what mirrord was called to ignore (a mask, hexadecimal), which Node has given its default effect. */
export function keepIgnored(mask = '0'): void {
  for (const signal of ignorable) if (isIn(mask, signal)) process.on(signal, () => undefined);
}

/** What waits for the start. */
export interface Interruption {
  /** Aborted by the first signal, with a MirrordError (MIRRORD_INTERRUPTED). */
  readonly signal: AbortSignal;
  /** The result of `work`, unless a signal comes before. */
  orGiveUp<T>(work: Promise<T>): Promise<T>;
}

/** Begins to watch for signals, but for those that mirrord was called to ignore (a mask, hexadecimal). */
export function watchForInterruption(ignored = '0'): Interruption {
  keepIgnored(ignored);
  const controller = new AbortController();
  const given = Promise.withResolvers<never>();
  given.promise.catch(() => undefined); // perhaps nobody waits just now
  for (const signal of signals) {
    if (isIn(ignored, signal)) continue;
    const number = os.constants.signals[signal];
    process.once(signal, () => {
      const error = new MirrordError(
        'MIRRORD_INTERRUPTED',
        `${signal} came before the program was started`,
        {exitCode: 128 + number},
      );
      controller.abort(error);
      given.reject(error);
    });
  }
  return {
    signal: controller.signal,
    orGiveUp: async (work) => await Promise.race([work, given.promise]),
  };
}
