/** Connects into a client's program, for as long as one may wait for it: the application could answer instead. */

import type {StreamSocket} from '../../../sockets/types.ts';
import type {HttpSubscription} from './types.ts';

/** A connection takes a few round trips to a laptop. */
const CONNECT_MS = 5000;

/** Resolves to undefined when the program refuses, is gone, or takes too long. */
export async function connectProgram(
  subscription: HttpSubscription,
): Promise<StreamSocket | undefined> {
  let timer: NodeJS.Timeout | undefined;
  let isLate = false;
  const connecting = subscription.connect();
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => {
      isLate = true;
      resolve(undefined);
    }, CONNECT_MS);
  });
  try {
    return await Promise.race([connecting, late]);
  } catch {
    // That is what the caller asks about.
    return undefined;
  } finally {
    clearTimeout(timer);
    if (isLate) connecting.then((socket) => socket.destroy(true)).catch(() => {});
  }
}
