/**
 * Memory for what is read, used again and again. It lies outside of V8's heap, and what is read ahead lives for a while:
 * without this V8 would collect everything again and again (tunnel/garbage.ts), which took more time than all else.
 *
 * Whoever is the last to use a buffer may give it back; one that is not given back is garbage like any other.
 */

/** A piece that is read ahead, and what an answer to OPEN has before it. */
const BUFFER_BYTES = 131_072 + 256;
/** Smaller ones are not worth it. */
const LEAST_BYTES = 16_384;
/** Buffers that wait to be used: 8 MiB, what one file has read ahead. */
const FREE_MAX = 64;

/** What was read. */
export interface Reading {
  /** In order; not to be written to. */
  readonly parts: readonly Uint8Array[];
  /** To be called once when they are not needed any more: their memory is used again. */
  release(): void;
}

const free = new Set<ArrayBufferLike>();

/** Memory for so many bytes, with anything in it. */
export function takeBuffer(length: number): Uint8Array {
  if (length < LEAST_BYTES || length > BUFFER_BYTES) return new Uint8Array(length);
  const [known] = free;
  if (known === undefined) return new Uint8Array(new ArrayBuffer(BUFFER_BYTES), 0, length);
  free.delete(known);
  return new Uint8Array(known, 0, length);
}

/** Gives back what `bytes` lie in, which nobody uses any more. */
export function giveBack(bytes: Uint8Array): void {
  const {buffer} = bytes;
  if (buffer.byteLength === BUFFER_BYTES && free.size < FREE_MAX) free.add(buffer);
}

/** What was read for one who reads it alone. */
export function readingOf(bytes: Uint8Array): Reading {
  return {parts: [bytes], release: () => giveBack(bytes)};
}
