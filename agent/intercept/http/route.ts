/**
 * For whom a request is: the first client that steals it, and everyone who mirrors it.
 */

import type {Judge} from './filter/judge.ts';
import {compileMatcher, type FilterSubject, type Matcher} from './filter/matcher.ts';
import type {HttpOptions, HttpSubscription} from './types.ts';

export interface Route {
  /** Undefined: the application answers. */
  readonly steal: HttpSubscription | undefined;
  readonly mirrors: readonly HttpSubscription[];
}

const TO_APPLICATION: Route = {steal: undefined, mirrors: []};

export class Router {
  readonly #options: HttpOptions;
  readonly #judge: Judge;
  readonly #matchers = new WeakMap<HttpSubscription, Matcher>();

  constructor(options: HttpOptions, judge: Judge) {
    this.#options = options;
    this.#judge = judge;
  }

  /** Asks the filters in their order; one that steals is not asked when the request is gone already. */
  route(
    subscriptions: readonly HttpSubscription[],
    subject: FilterSubject,
  ): Route | Promise<Route> {
    return this.#continue(subscriptions, subject, TO_APPLICATION);
  }

  #continue(
    subscriptions: readonly HttpSubscription[],
    subject: FilterSubject,
    begun: Route,
  ): Route | Promise<Route> {
    let route = begun;
    for (const [at, subscription] of subscriptions.entries()) {
      if (subscription.mode === 'steal' && route.steal !== undefined) continue;
      const fits = this.#matcherOf(subscription)(subject);
      if (fits === true) route = withSubscription(route, subscription);
      if (typeof fits === 'boolean') continue;
      const rest = subscriptions.slice(at + 1);
      return fits.then((is) =>
        this.#continue(rest, subject, is ? withSubscription(route, subscription) : route),
      );
    }
    return route;
  }

  #matcherOf(subscription: HttpSubscription): Matcher {
    let matcher = this.#matchers.get(subscription);
    if (matcher === undefined) {
      matcher = compileMatcher(subscription, this.#options, this.#judge);
      this.#matchers.set(subscription, matcher);
    }
    return matcher;
  }
}

function withSubscription(route: Route, subscription: HttpSubscription): Route {
  if (subscription.mode === 'steal') return {...route, steal: subscription};
  return {...route, mirrors: [...route.mirrors, subscription]};
}
