import test from 'ava';
import {summarizeLatency} from '../../../layer/diagnose/latency.ts';

test('of a hundred round trips, percentiles are values that occurred', (t) => {
  const samplesMs = Array.from({length: 100}, (_, index) => 100 - index);
  t.deepEqual(summarizeLatency(samplesMs), {
    rounds: 100,
    minMs: 1,
    avgMs: 50.5,
    maxMs: 100,
    p50Ms: 50,
    p90Ms: 90,
    p99Ms: 99,
  });
});

test('one round trip is all of them', (t) => {
  const {minMs, avgMs, p50Ms, p99Ms} = summarizeLatency([2.5]);
  t.deepEqual([minMs, avgMs, p50Ms, p99Ms], [2.5, 2.5, 2.5, 2.5]);
});
