/** What a client is told about its subscription, once each. */

import type {HttpSubscription, WarningCode} from './types.ts';

const told = new WeakMap<HttpSubscription, Set<WarningCode>>();

/** Warns, unless the same was said before. */
export function warnOnce(subscription: HttpSubscription, code: WarningCode, message: string): void {
  const codes = told.get(subscription) ?? new Set();
  told.set(subscription, codes);
  if (codes.has(code)) return;
  codes.add(code);
  subscription.warn(code, message);
}
