/**
 * A stretch of memory seen in two ways: as bytes (to copy and to cut views) and as a DataView (to
 * read and write numbers). Making a DataView costs more than parsing a header, so both are made once
 * per buffer and passed around together.
 */
export interface Octets {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

/** Wraps `bytes` without copying. */
export function octets(bytes: Uint8Array): Octets {
  return {bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)};
}
