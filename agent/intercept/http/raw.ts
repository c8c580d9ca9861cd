/**
 * Ties two connections together byte for byte: FIN for FIN, reset for reset, and neither faster than the other.
 */

import type {Leg} from './leg.ts';
import type {Signal} from './signal.ts';

/** Resolves when both connections are over. */
export async function relayRaw(one: Leg, other: Leg, signal: Signal): Promise<void> {
  await Promise.all([pump(one, other, signal), pump(other, one, signal)]);
}

async function pump(from: Leg, to: Leg, signal: Signal): Promise<void> {
  for (;;) {
    if (from.isBroken && !from.hasBytes) return to.reset();
    if (to.isBroken) return from.reset();
    if (!to.isWritable) await signal.wait();
    else if (from.hasBytes) to.write(from.read() ?? Buffer.alloc(0));
    else if (from.isAtEnd) return to.end();
    else await signal.wait();
  }
}
