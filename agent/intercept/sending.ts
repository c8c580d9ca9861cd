/** What the kernel still has to send of connections that were closed. */

import {connections} from '../native.ts';

/** Whether a connection to our `port` was closed of which the other end has not got everything. False where it can't be told. */
export function isSending(port: number): boolean {
  try {
    return ([4, 6] as const).some(
      (family) => connections(family, {localPort: port}, 'sending').length > 0,
    );
  } catch {
    return false;
  }
}
