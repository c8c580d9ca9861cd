/** The end of a running program: waited for, or brought about when its context is gone. */

import {MirrordError} from './errors.ts';
import {relaySignals} from './native/native.ts';
import type {ProgramEnd, RunningProgram} from './sandbox/program.ts';

/** How long a program gets to end when it is asked to, before it is killed. */
const graceMs = 3_000;

/** Ends a program: politely first. Resolves when it has ended. */
export async function endProgram(program: RunningProgram): Promise<void> {
  const signal = (name: NodeJS.Signals): void => {
    try {
      process.kill(program.pid, name);
    } catch {
      // ESRCH: it has ended by itself
    }
  };
  signal('SIGTERM');
  const killer = setTimeout(signal, graceMs, 'SIGKILL');
  await program.ended;
  clearTimeout(killer);
}

/**
 * Waits for the program's end; signals that others send us are its meanwhile. When its context is lost
 * first, ends it, and throws what `lost` tells.
 */
export async function awaitEnd(
  program: RunningProgram,
  lost?: Promise<MirrordError>,
): Promise<ProgramEnd> {
  relaySignals(program.pid);
  try {
    const first = await Promise.race([program.ended, ...(lost === undefined ? [] : [lost])]);
    if (!(first instanceof MirrordError)) return first;
    await endProgram(program);
    throw first;
  } finally {
    relaySignals(0);
  }
}
