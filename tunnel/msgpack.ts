/**
 * MessagePack for calls, by a library, behind a check of its shape.
 *
 * The library is fast and correct but trusts lengths: the header of an array of 2^32 elements makes
 * it allocate for them, and nesting has no bound. So the bytes are walked once before: every
 * announced element must have at least a byte, and the depth is limited.
 */

import {decode, encode} from '@msgpack/msgpack';
import {ProtocolError} from './errors.ts';
import {readUint16, readUint32} from './frames.ts';
import {CALL_ITEM_BYTES, CALL_ITEM_DEPTH} from './limits.ts';

/** Returns the encoded value. Throws RangeError when it is larger than a call item may be. */
export function encodeItem(value: unknown): Uint8Array {
  const bytes = encode(value, {ignoreUndefined: true, maxDepth: CALL_ITEM_DEPTH + 1});
  if (bytes.length > CALL_ITEM_BYTES) throw new RangeError('the item is too large');
  return bytes;
}

/**
 * Returns the one value that fills `bytes`; byte strings in it are copies. Throws ProtocolError
 * CALL_MALFORMED or CALL_TOO_DEEP.
 */
export function decodeItem(bytes: Uint8Array): unknown {
  checkShape(bytes);
  try {
    return decode(bytes);
  } catch {
    // Its errors only repeat what the peer sent: the code says enough.
    throw new ProtocolError('CALL_MALFORMED');
  }
}

/** Walks over one value. `counts` holds, for each open container, how many values are missing. */
function checkShape(bytes: Uint8Array): void {
  const counts: number[] = [1];
  let offset = 0;
  let missing = 1;
  while (counts.length > 0) {
    const top = counts.length - 1;
    const count = counts[top] ?? 0;
    if (count === 0) {
      counts.pop();
      continue;
    }
    counts[top] = count - 1;
    const {size, values} = readItem(bytes, offset);
    offset += size;
    missing += values - 1;
    if (offset + missing > bytes.length) throw new ProtocolError('CALL_MALFORMED');
    if (values > 0) counts.push(values);
    if (counts.length > CALL_ITEM_DEPTH + 1) throw new ProtocolError('CALL_TOO_DEEP');
  }
  if (offset !== bytes.length) throw new ProtocolError('CALL_MALFORMED');
}

/** Returns the bytes of the value at `offset` without what it contains, and how many it contains. */
function readItem(bytes: Uint8Array, offset: number): {size: number; values: number} {
  const type = bytes[offset];
  if (type === undefined) throw new ProtocolError('CALL_MALFORMED');
  if (type < 0x80 || type >= 0xe0) return {size: 1, values: 0};
  if (type < 0x90) return {size: 1, values: 2 * (type & 0x0f)};
  if (type < 0xa0) return {size: 1, values: type & 0x0f};
  if (type < 0xc0) return {size: 1 + (type & 0x1f), values: 0};
  const at = offset + 1;
  switch (type) {
    case 0xc0: // nil
    case 0xc2: // false
    case 0xc3: // true
      return {size: 1, values: 0};
    case 0xc4: // bin 8
    case 0xd9: // str 8
      return {size: 2 + (bytes[at] ?? 0), values: 0};
    case 0xc5: // bin 16
    case 0xda: // str 16
      return {size: 3 + readUint16(bytes, at), values: 0};
    case 0xc6: // bin 32
    case 0xdb: // str 32
      return {size: 5 + readUint32(bytes, at), values: 0};
    case 0xcc: // uint 8
    case 0xd0: // int 8
      return {size: 2, values: 0};
    case 0xcd: // uint 16
    case 0xd1: // int 16
      return {size: 3, values: 0};
    case 0xca: // float 32
    case 0xce: // uint 32
    case 0xd2: // int 32
      return {size: 5, values: 0};
    case 0xcb: // float 64
    case 0xcf: // uint 64
    case 0xd3: // int 64
      return {size: 9, values: 0};
    case 0xdc: // array 16
      return {size: 3, values: readUint16(bytes, at)};
    case 0xdd: // array 32
      return {size: 5, values: readUint32(bytes, at)};
    case 0xde: // map 16
      return {size: 3, values: 2 * readUint16(bytes, at)};
    case 0xdf: // map 32
      return {size: 5, values: 2 * readUint32(bytes, at)};
    default: // extensions: nobody here sends them
      throw new ProtocolError('CALL_MALFORMED');
  }
}
