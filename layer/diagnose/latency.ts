/**
 * Measures the way to the agent and back: pings one after the other, each through the whole agent.
 */

import type {Mux} from '../../tunnel/mux.ts';
import {callPing} from '../../tunnel/target.ts';

/** A ping that takes longer has failed. */
const pingTimeoutMs = 10_000;

/** What the round trips were, in milliseconds. */
export interface Latency {
  rounds: number;
  minMs: number;
  avgMs: number;
  maxMs: number;
  p50Ms: number;
  p90Ms: number;
  p99Ms: number;
}

/** Sums up round trips, of which there is at least one; percentiles are values that occurred (nearest rank). */
export function summarizeLatency(samplesMs: readonly number[]): Latency {
  const sorted = samplesMs.toSorted((a, b) => a - b);
  const percentile = (percent: number): number =>
    sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)] ?? Number.NaN;
  return {
    rounds: sorted.length,
    minMs: sorted[0] ?? Number.NaN,
    avgMs: Number((sorted.reduce((sum, sample) => sum + sample, 0) / sorted.length).toFixed(3)),
    maxMs: sorted.at(-1) ?? Number.NaN,
    p50Ms: percentile(50),
    p90Ms: percentile(90),
    p99Ms: percentile(99),
  };
}

/** Pings so many times. Rejects with CallError. */
export async function measureLatency(mux: Mux, rounds: number): Promise<Latency> {
  const samplesMs: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const startedMs = performance.now();
    await callPing(mux, AbortSignal.timeout(pingTimeoutMs));
    // Whole microseconds: the clock has no more to say.
    samplesMs.push(Math.round((performance.now() - startedMs) * 1_000) / 1_000);
  }
  return summarizeLatency(samplesMs);
}
