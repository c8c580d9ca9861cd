/**
 * How long to wait before something is tried again.
 */

/** `startup_retry`. */
export interface RetryPolicy {
  minMs: number;
  maxMs: number;
  maxRetries: number;
}

/** The wait before attempt `attempt` + 1, milliseconds: doubled each time, between the policy's bounds. */
export function backoffMs(
  attempt: number,
  {minMs, maxMs}: Omit<RetryPolicy, 'maxRetries'>,
): number {
  return Math.min(maxMs, minMs * 2 ** Math.min(attempt, 30));
}
