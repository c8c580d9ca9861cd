/**
 * The bytes that the bulk source sends: the same for everybody who asks, so that they can be checked.
 */

/** Length of the block that repeats, bytes. */
export const blockLength = 64 * 1024;

/** Makes the block: no two of its 256-byte rows are alike, so that a shift shows. */
export function patternBlock(): Uint8Array<ArrayBuffer> {
  const block = new Uint8Array(blockLength);
  for (let i = 0; i < blockLength; i++) block[i] = (i * 7 + (i >> 8) * 13) & 0xff;
  return block;
}
