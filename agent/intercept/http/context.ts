/** What the relays of a connection work with. */

import type {HttpCounters} from './counters.ts';
import type {Router} from './route.ts';
import type {HttpOptions, RedirectedConnection} from './types.ts';

export interface RelayContext {
  readonly connection: RedirectedConnection;
  readonly options: HttpOptions;
  readonly router: Router;
  readonly counters: HttpCounters;
}
