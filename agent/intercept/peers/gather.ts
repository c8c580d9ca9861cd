/**
 * Where subscriptions are made, and the wait for those that move together: the rules of a new leader take connections as
 * soon as they are loaded, and who is not there by then is not asked.
 */

import type {InterceptEvent, InterceptParams} from '../../../tunnel/intercept.ts';
import type {InterceptClient, Standing} from '../subscriptions.ts';

/** Subscribes, and tells by events what comes of it; returns the end of it. */
export type Subscribe = (
  params: InterceptParams,
  client: InterceptClient,
  onEvent: (event: InterceptEvent) => void,
  standing: Standing,
) => () => void;

/** How long the last one may take, ms: a connection on the same machine, and an answer. */
const GATHERING_MS = 500;

/** Holds everything back until so many subscriptions have moved here, or have had their time. */
export function gather(subscribe: Subscribe, expected: number): Subscribe {
  const held = new Set<() => void>();
  let moved = 0;
  let isOver = false;
  const finish = (): void => {
    isOver = true;
    clearTimeout(timer);
    for (const begin of held) begin();
    held.clear();
  };
  const timer = setTimeout(finish, GATHERING_MS);
  return (params, client, onEvent, standing) => {
    if (isOver) return subscribe(params, client, onEvent, standing);
    let end: (() => void) | undefined;
    const begin = (): void => {
      end = subscribe(params, client, onEvent, standing);
    };
    held.add(begin);
    if (standing.isMoved) moved++;
    if (moved >= expected) finish();
    return () => {
      held.delete(begin);
      end?.();
    };
  };
}
