/** What of one end's SETTINGS the other end is told. Sans-IO. */

import {HEAD_BYTES} from './blocks.ts';
import type {Setting} from './link.ts';
import {
  ENABLE_PUSH,
  HEADER_TABLE_SIZE,
  MAX_CONCURRENT_STREAMS,
  MAX_HEADER_LIST_SIZE,
} from './protocol.ts';

/** Streams at a time. nginx allows 128, Go 250, Node any number. */
export const MAX_STREAMS = 1024;

/** Limits of ours, which lower the application's. */
const LIMITS: readonly Setting[] = [
  [MAX_CONCURRENT_STREAMS, MAX_STREAMS],
  [MAX_HEADER_LIST_SIZE, HEAD_BYTES],
];

/** What a client is told while there is no application. */
export const OWN_SETTINGS: readonly Setting[] = LIMITS;

/** What the application sets, as the client is told it. Tables of headers are each connection's own. */
export function settingsForClient(settings: readonly Setting[], isFirst: boolean): Setting[] {
  const told = settings
    .filter(([id]) => id !== HEADER_TABLE_SIZE)
    .map(([id, value]): Setting => {
      const limit = LIMITS.find(([limited]) => limited === id)?.[1] ?? value;
      return [id, Math.min(value, limit)];
    });
  const unsaid = LIMITS.filter(([id]) => !told.some(([said]) => said === id));
  return isFirst ? [...told, ...unsaid] : told;
}

/** What the client sets, as the application is told it. What a server pushes would have no request that is looked at. */
export function settingsForApplication(settings: readonly Setting[], isFirst: boolean): Setting[] {
  const told = settings.filter(([id]) => id !== HEADER_TABLE_SIZE && id !== ENABLE_PUSH);
  return isFirst ? [[ENABLE_PUSH, 0], ...told] : told;
}
