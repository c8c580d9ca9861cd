/** Passes one direction between two connections on as it is: FIN for FIN, reset for reset, no faster than it is taken. */

import type {Leg} from './leg.ts';

/** Passes on what can be now; returns whether the direction is over. */
export function pump(from: Leg, to: Leg): boolean {
  for (;;) {
    if (from.isBroken && !from.hasBytes) {
      to.reset();
      return true;
    }
    if (to.isBroken) {
      from.reset();
      return true;
    }
    if (!to.isWritable) return false;
    const chunk = from.read();
    if (chunk !== undefined) {
      to.write(chunk);
      continue;
    }
    if (from.isAtEnd) to.end();
    return from.isAtEnd;
  }
}
