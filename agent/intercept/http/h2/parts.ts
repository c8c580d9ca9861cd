/** What a relayed connection of HTTP/2 is made of, as its parts know each other (`relay.ts` has them). */

import type {RelayContext} from '../context.ts';
import type {LastingChanges} from '../lasting-changes.ts';
import type {Exchanges} from './exchanges.ts';
import type {Link} from './link.ts';
import type {Output} from './output.ts';
import type {Programs} from './programs.ts';
import type {Streams} from './streams.ts';
import type {Way} from './way.ts';

export interface Parts {
  readonly context: RelayContext;
  /** No stream was anybody's but the application's: what the ends say passes as it is. */
  readonly isVerbatim: boolean;
  readonly client: Link;
  /** Undefined: nobody was there from the beginning. */
  readonly application: Link | undefined;
  /** What is said to the application; undefined when it is gone. */
  readonly toApplication: Output | undefined;
  /** From the client to the application, and back. */
  readonly up: Way;
  readonly down: Way;
  readonly streams: Streams;
  readonly exchanges: Exchanges;
  readonly programs: Programs;
  readonly changes: LastingChanges;
  /** Something else than that is to happen, from now on. */
  divide(): void;
  /** Goes on when something is known. */
  after<T>(promise: Promise<T>, act: (value: T) => void): void;
}
