/**
 * The application's end of a relayed connection: what it says until it is known to speak HTTP/2.
 *
 * A server begins with SETTINGS (RFC 9113, section 3.4). One that says anything else does not know the protocol, and
 * what it says instead (a 400 of HTTP/1.1) is the client's as it is.
 */

import {readUint32} from './frames.ts';
import {ACK, FRAME_HEADER_BYTES, SETTINGS} from './protocol.ts';

/** `more`: the bytes so far may be its beginning. */
export type Greeting = 'http2' | 'other' | 'more';

/** Says what a server speaks that begins with these bytes. */
export function greetingOf(bytes: Uint8Array): Greeting {
  if (bytes.length > 3 && bytes[3] !== SETTINGS) return 'other';
  if (bytes.length < FRAME_HEADER_BYTES)
    return bytes[0] === undefined || bytes[0] === 0 ? 'more' : 'other';
  const length = readUint32(bytes, 0) >>> 8;
  const isSettings = length % 6 === 0 && length <= 16_384 && ((bytes[4] ?? 0) & ACK) === 0;
  return isSettings && readUint32(bytes, 5) === 0 ? 'http2' : 'other';
}
