/** What the watches of a connection work with. */

import type {HttpCounters} from '../counters.ts';
import type {Router} from '../route.ts';
import type {HttpOptions, HttpSubscription} from '../types.ts';
import {warnOnce} from '../warnings.ts';

export interface WatchContext {
  /** Who mirrors requests of the port now; asked for each request. The same list while nothing changes. */
  subscriptions(): readonly HttpSubscription[];
  readonly options: HttpOptions;
  readonly router: Router;
  readonly counters: HttpCounters;
}

/** Looks at what a client sends, in one protocol. */
export interface Watch {
  /** Nothing more is looked at. */
  readonly isOver: boolean;
  /** The next bytes, which are the watch's own. */
  push(bytes: Buffer): void;
  /** The client sends no more. */
  end(): void;
  /** The connection is broken, or something of it is missing. */
  reset(): void;
}

/** What may wait of a connection while filters think about its requests; a request that has a larger body is cut off. */
export const WAITING_BYTES = 1_048_576;

/** Tells everybody who mirrors that more has come than may wait for filters. */
export function tellTooSlow({counters, subscriptions}: WatchContext): void {
  counters.cutMirrors++;
  const late = 'filters take longer with requests than more of them come: some are lost';
  for (const one of subscriptions()) warnOnce(one, 'MIRRORD_HTTP_MIRROR_SLOW', late);
}
