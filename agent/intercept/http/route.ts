/**
 * For whom a request is: the first client that steals it, and everyone who mirrors it.
 */

import type {HttpFilter} from '../../../tunnel/http-filter.ts';
import type {Judge} from './filter/judge.ts';
import {compileFilter, type FilterSubject, type Matcher} from './filter/matcher.ts';
import type {HttpSubscription} from './types.ts';

export interface Route {
  /** Undefined: the application answers. */
  readonly steal: HttpSubscription | undefined;
  readonly mirrors: readonly HttpSubscription[];
}

/** A request, and who wants it so far. */
interface Asking {
  readonly subject: FilterSubject;
  readonly limitMs: number;
  readonly begun: Route;
}

const TO_APPLICATION: Route = {steal: undefined, mirrors: []};

export class Router {
  readonly #judge: Judge;
  readonly #matchers = new WeakMap<HttpFilter, Matcher>();

  constructor(judge: Judge) {
    this.#judge = judge;
  }

  /**
   * Asks the filters in their order; one that steals is not asked when the request is gone already. `limitMs` is for
   * each that has to think.
   */
  route(
    subscriptions: readonly HttpSubscription[],
    subject: FilterSubject,
    limitMs: number,
  ): Route | Promise<Route> {
    return this.#continue(subscriptions, {subject, limitMs, begun: TO_APPLICATION});
  }

  #continue(
    subscriptions: readonly HttpSubscription[],
    {subject, limitMs, begun}: Asking,
  ): Route | Promise<Route> {
    let route = begun;
    for (let at = 0; at < subscriptions.length; at++) {
      const subscription = subscriptions[at];
      if (subscription === undefined) break;
      if (subscription.mode === 'steal' && route.steal !== undefined) continue;
      const fits = this.#matcherOf(subscription.filter)(subject, {subscription, limitMs});
      if (fits === true) route = withSubscription(route, subscription);
      if (typeof fits === 'boolean') continue;
      const rest = subscriptions.slice(at + 1);
      const soFar = route;
      return fits.then((is) => {
        const next = is ? withSubscription(soFar, subscription) : soFar;
        return this.#continue(rest, {subject, limitMs, begun: next});
      });
    }
    return route;
  }

  #matcherOf(filter: HttpFilter | undefined): Matcher {
    if (filter === undefined) return fitsEverything;
    let matcher = this.#matchers.get(filter);
    if (matcher === undefined) {
      matcher = compileFilter(filter, this.#judge);
      this.#matchers.set(filter, matcher);
    }
    return matcher;
  }
}

const fitsEverything: Matcher = () => true;

function withSubscription(route: Route, subscription: HttpSubscription): Route {
  if (subscription.mode === 'steal') return {...route, steal: subscription};
  return {...route, mirrors: [...route.mirrors, subscription]};
}
