/**
 * Looks again and again at what the kernel tells nobody of, and tells of each change.
 *
 * Every 250 ms, but for at most a hundredth of the time: the tables of a busy pod are long.
 */

const POLL_MS = 250;
/** Looking may take one part in so many of the time. */
const COST_FACTOR = 100;

/** Calls `onChange` with what `read` finds, first at once and then after each change; returns the stop. */
export function watchChanges<T>(read: () => Promise<T>, onChange: (found: T) => void): () => void {
  let isStopped = false;
  let timer: NodeJS.Timeout | undefined;
  let last = '';
  const look = async (): Promise<void> => {
    const startedAt = performance.now();
    const found = await read();
    if (isStopped) return;
    const text = JSON.stringify(found);
    if (text !== last) onChange(found);
    last = text;
    const costMs = performance.now() - startedAt;
    timer = setTimeout(look, Math.max(POLL_MS, costMs * COST_FACTOR));
    timer.unref();
  };
  void look();
  return () => {
    isStopped = true;
    clearTimeout(timer);
  };
}
