/**
 * What a connection speaks, by its first bytes. Sans-IO.
 *
 * The verdict is one of the bytes alone, however they were cut. It comes as early as it can: a TLS hello, an SSH
 * banner or a Redis command is `raw` with the first byte that no request line could have there, since whoever
 * sent it may wait for an answer now. Only HTTP/1.0 and 1.1 and the preface of HTTP/2 are HTTP.
 */

/** `more`: the bytes so far are the beginning of a request line, or of the preface. */
export type Protocol = 'http1' | 'http2' | 'raw' | 'more';

/** A request line that is longer is passed on as it is. Node's own limit for a whole head. */
export const REQUEST_LINE_BYTES = 16_384;
/** The longest registered method has 16 letters (UPDATEREDIRECTREF). */
const METHOD_BYTES = 32;

/** RFC 9113, section 3.4. */
const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');
const VERSION = Buffer.from('HTTP/1.', 'latin1');

/** RFC 9110, section 5.6.2: by byte, whether a token may contain it. */
export const IS_TOKEN: Uint8Array = Uint8Array.from({length: 256}, (_, byte) =>
  /[!#$%&'*+\-.^_`|~0-9A-Za-z]/.test(String.fromCharCode(byte)) ? 1 : 0,
);

/** Says what a connection that begins with `bytes` speaks. */
export function detectProtocol(bytes: Uint8Array): Protocol {
  const length = Math.min(bytes.length, PREFACE.length);
  if (PREFACE.compare(bytes, 0, length, 0, length) === 0) {
    return length === PREFACE.length ? 'http2' : 'more';
  }
  return detectRequestLine(bytes);
}

function detectRequestLine(bytes: Uint8Array): Protocol {
  let at = 0;
  while (at < bytes.length && IS_TOKEN[bytes[at] ?? 0]) at++;
  if (at > METHOD_BYTES) return 'raw';
  if (at === bytes.length) return 'more';
  if (at === 0 || bytes[at] !== 0x20) return 'raw';
  const target = ++at;
  while (at < bytes.length && isTarget(bytes[at] ?? 0)) at++;
  if (at > REQUEST_LINE_BYTES) return 'raw';
  if (at === bytes.length) return 'more';
  if (at === target || bytes[at] !== 0x20) return 'raw';
  return detectVersion(bytes, at + 1);
}

function detectVersion(bytes: Uint8Array, from: number): Protocol {
  const found = Math.min(VERSION.length, bytes.length - from);
  if (VERSION.compare(bytes, from, from + found, 0, found) !== 0) return 'raw';
  const [digit, cr, lf] = bytes.subarray(from + VERSION.length, from + VERSION.length + 3);
  if (digit === undefined) return 'more';
  if (digit !== 0x30 && digit !== 0x31) return 'raw';
  if (cr === undefined) return 'more';
  if (cr !== 0x0d) return 'raw';
  if (lf === undefined) return 'more';
  return lf === 0x0a ? 'http1' : 'raw';
}

/** Bytes above ASCII are no part of RFC 9112's request target, but browsers and servers know them. */
export function isTarget(byte: number): boolean {
  return byte > 0x20 && byte !== 0x7f;
}
