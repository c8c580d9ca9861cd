/** Copies of the requests of a captured connection that fit the filters of who mirrors its port. */

import {httpCounters} from '../http/counters.ts';
import {router} from '../http/shared-router.ts';
import {HTTP_DEFAULTS, type HttpSubscription} from '../http/types.ts';
import {RequestWatch} from '../http/watch/request-watch.ts';
import {type Subscriber, warn} from '../subscriptions.ts';
import {connectClient, type Ends, opener} from '../tunnel-socket.ts';

/** How long a client may take to say whether its program takes a connection, ms. */
const CLIENT_TIMEOUT_MS = 5_000;

/** One that is known to the HTTP part by a number, which is none of the interceptor's. */
export interface CapturedSubscriber extends Subscriber {
  readonly number: number;
}

/**
 * Watches a connection. `subscribers`: those of its port that have a filter; another list whenever that changes, and not empty at
 * first.
 */
export function watchRequests(
  ends: Ends,
  subscribers: () => readonly CapturedSubscriber[],
): RequestWatch {
  let asked: readonly CapturedSubscriber[] | undefined;
  let found: readonly HttpSubscription[] = [];
  const [first] = subscribers();
  return new RequestWatch({
    options: {...HTTP_DEFAULTS, ...first?.params.http},
    router,
    counters: httpCounters,
    subscriptions: () => {
      const all = subscribers();
      if (all === asked) return found;
      asked = all;
      found = all.map((subscriber) => asHttp(subscriber, ends));
      return found;
    },
  });
}

function asHttp(subscriber: CapturedSubscriber, ends: Ends): HttpSubscription {
  const {number, params, client} = subscriber;
  return {
    id: number,
    mode: 'mirror',
    filter: params.filter,
    connect: async () => {
      if (client.isAway) throw new Error('the client is away');
      return await connectClient(opener(subscriber, ends), CLIENT_TIMEOUT_MS);
    },
    warn: (code, message) => warn(subscriber, code, message),
  };
}
