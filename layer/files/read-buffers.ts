/**
 * Memory for what is read, used again and again. It lies outside of V8's heap, and what is read ahead lives for a while:
 * without this V8 would collect everything again and again (tunnel/garbage.ts), which took more time than all else.
 *
 * Whoever is the last to use a buffer may give it back; one that is not given back is garbage like any other.
 */

/** Of a page, and of a piece that is read ahead, with what an answer to OPEN has before it. */
const BUFFER_BYTES = [4096 + 256, 131_072 + 256] as const;
/** Smaller than these there are none, and between them none that would waste most of its memory. */
const LEAST_BYTES = [1024, 16_384] as const;
/**
 * Buffers of each size that wait to be used: 8 MiB, what one file has read ahead. When all blocks around pieces are given back
 * (ReadAround), they wait for a while for the next file.
 */
const FREE_MAX = 64;
const SPARE_MAX = 1024;
const SPARE_MS = 10_000;

/** Asks for bytes of a file; fewer than wanted are its end. `isLater`: nobody waits for them yet. */
export type ReadPiece = (offset: number, length: number, isLater?: boolean) => Promise<Uint8Array>;

/** What was read. */
export interface Reading {
  /** In order; not to be written to. */
  readonly parts: readonly Uint8Array[];
  /** To be called once when they are not needed any more: their memory is used again. */
  release(): void;
}

const free = BUFFER_BYTES.map(() => new Set<ArrayBufferLike>());
let trimming: NodeJS.Timeout | undefined;

/** Bytes of memory that wait to be used. */
export function spareBytes(): number {
  return free.reduce((sum, these, index) => sum + these.size * (BUFFER_BYTES[index] ?? 0), 0);
}

/** Memory for so many bytes, with anything in it. */
export function takeBuffer(length: number): Uint8Array {
  const index = length <= BUFFER_BYTES[0] ? 0 : 1;
  if (length < LEAST_BYTES[index] || length > BUFFER_BYTES[index]) return new Uint8Array(length);
  const known = free[index]?.values().next().value;
  if (known === undefined) return new Uint8Array(new ArrayBuffer(BUFFER_BYTES[index]), 0, length);
  free[index]?.delete(known);
  return new Uint8Array(known, 0, length);
}

/** Gives back what `bytes` lie in, which nobody uses any more. */
export function giveBack(bytes: Uint8Array): void {
  const {buffer} = bytes;
  const these = free[BUFFER_BYTES.indexOf(buffer.byteLength as (typeof BUFFER_BYTES)[number])];
  if (these === undefined || these.size >= SPARE_MAX) return;
  these.add(buffer);
  if (these.size > FREE_MAX && trimming === undefined) {
    trimming = setTimeout(trim, SPARE_MS).unref();
  }
}

function trim(): void {
  trimming = undefined;
  for (const these of free) {
    for (const buffer of [...these].slice(FREE_MAX)) these.delete(buffer);
  }
}

/** What was read for one who reads it alone. */
export function readingOf(bytes: Uint8Array): Reading {
  return {parts: [bytes], release: () => giveBack(bytes)};
}
