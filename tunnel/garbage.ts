/**
 * Has V8 free the buffers that bulk data came in.
 *
 * Each read of a connection is a buffer outside of V8's heap, of which the heap only has a few words. V8 looks at
 * its own heap to decide when to collect young garbage, which so little never fills, and at what is outside
 * to decide when to collect everything: 41 full collections in 512 MiB, which take an agent as much
 * processor time as all else. A young collection for every 8 MiB that come takes a tenth of that, and keeps the
 * memory small. It needs `node --expose-gc`; without it, all is as V8 has it.
 */

const MINOR_AFTER_BYTES = 8_388_608;

interface CollectorHost {
  gc?: (options: {type: 'minor'}) => void;
}

let bytesSince = 0;

/** Notes that so many bytes came, and were handed on or dropped. */
export function noteReceived(bytes: number): void {
  bytesSince += bytes;
  if (bytesSince < MINOR_AFTER_BYTES) return;
  bytesSince = 0;
  (globalThis as CollectorHost).gc?.({type: 'minor'});
}
