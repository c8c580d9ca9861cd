/**
 * What a client is told about its subscription, once each.
 *
 * Subscriptions are known by their id, of which the latest are remembered.
 */

import type {HttpSubscription, WarningCode} from './types.ts';

/** As many as an agent has at a time. */
const MAX_REMEMBERED = 1024;

const told = new Map<number, Set<WarningCode>>();

/** Warns, unless the same was said before. */
export function warnOnce(subscription: HttpSubscription, code: WarningCode, message: string): void {
  const codes = told.get(subscription.id) ?? new Set();
  if (codes.has(code)) return;
  const [oldest] = told.keys();
  if (told.size >= MAX_REMEMBERED && oldest !== undefined) told.delete(oldest);
  told.set(subscription.id, codes);
  codes.add(code);
  subscription.warn(code, message);
}
