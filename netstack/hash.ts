/**
 * HalfSipHash-1-3 (Aumasson, Bernstein): a keyed hash made for 32-bit words, so it needs nothing but
 * integer operations. Keyed with random numbers, it decides the buckets of the flow table, where a
 * program must not be able to make all its flows collide, and the initial sequence numbers.
 */

/** 64 bits of secret. */
export interface HashKey {
  readonly k0: number;
  readonly k1: number;
}

/** Draws a key. `random` returns numbers in [0, 1). */
export function createHashKey(random: () => number): HashKey {
  return {k0: Math.floor(random() * 2 ** 32) | 0, k1: Math.floor(random() * 2 ** 32) | 0};
}

// The state of the hash under way. The functions below run to their end without interruption.
let v0 = 0;
let v1 = 0;
let v2 = 0;
let v3 = 0;
let words = 0;

function round(): void {
  v0 = (v0 + v1) | 0;
  v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
  v0 = (v0 << 16) | (v0 >>> 16);
  v2 = (v2 + v3) | 0;
  v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
  v0 = (v0 + v3) | 0;
  v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
  v2 = (v2 + v1) | 0;
  v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
  v2 = (v2 << 16) | (v2 >>> 16);
}

/** Begins a hash; any other under way is lost. */
export function hashStart(key: HashKey): void {
  v0 = key.k0;
  v1 = key.k1;
  v2 = 0x6c796765 ^ key.k0;
  v3 = 0x74656462 ^ key.k1;
  words = 0;
}

/** Adds a 32-bit word. */
export function hashWord(word: number): void {
  v3 ^= word;
  round();
  v0 ^= word;
  words += 1;
}

/** Ends the hash: 32 bits, signed. */
export function hashEnd(): number {
  // The number of bytes, modulo 256, in the upper byte.
  const last = words << 26;
  v3 ^= last;
  round();
  v0 ^= last;
  v2 ^= 0xff;
  round();
  round();
  round();
  return v1 ^ v3;
}
