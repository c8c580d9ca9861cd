/**
 * What waits of copies, for programs that mirror and for filters that think, of all connections together: each has a limit of its
 * own, which with thousands of them would be gigabytes. When it is used up, who adds to it is given up, as one that is
 * too slow.
 */

import {Pool} from '../../tunnel/memory.ts';

/** An eighth of what an agent's container has by default. */
const WAITING_BYTES = 33_554_432;

export const waitingCopies = new Pool(WAITING_BYTES);
