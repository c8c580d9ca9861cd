/**
 * Initial sequence numbers (RFC 6528; RFC 9293 MUST-8 and SHLD-1):
 *
 *     ISN = M + F(4-tuple, secret)
 *
 * M is a clock of 4 µs ticks, F a keyed hash. So the ISNs of one 4-tuple grow with time, and those
 * of others cannot be told from them.
 */
import {type FlowKey, hashKey} from '../flow-table.ts';
import type {HashKey} from '../hash.ts';
import {seqAdd} from './seq.ts';

const TICKS_PER_MS = 250;

/** The ISN of a connection that is answered at `now` (ms). */
export function initialSequence(secret: HashKey, key: FlowKey, now: number): number {
  return seqAdd(hashKey(secret, key), Math.floor(now * TICKS_PER_MS) % 2 ** 32);
}
