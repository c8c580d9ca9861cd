/**
 * Looks again and again: the kernel tells nobody of a new listener.
 *
 * Every 40 ms, so that with what follows all is done in 100, but for at most a twentieth of the time.
 */

const pollMs = 40;
/** Looking may take one part in so many of the time. */
const costFactor = 20;

/** Calls `look` until disposed of, never again before it is done. It must not reject. */
export function pollAgain(look: () => Promise<void>): Disposable {
  let isStopped = false;
  let timer: NodeJS.Timeout | undefined;
  const next = async (): Promise<void> => {
    const startedAt = performance.now();
    await look();
    const costMs = performance.now() - startedAt;
    if (!isStopped) timer = setTimeout(next, Math.max(pollMs, costMs * costFactor));
  };
  timer = setTimeout(next, pollMs);
  return {
    [Symbol.dispose]() {
      isStopped = true;
      clearTimeout(timer);
    },
  };
}
