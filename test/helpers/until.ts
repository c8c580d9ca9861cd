/** Waits for what nobody tells; the limit is the test's own. */

import {setTimeout as delay} from 'node:timers/promises';

/** Resolves when the condition is true; looks again and again. */
export async function until(isTrue: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isTrue())) await delay(5);
}
