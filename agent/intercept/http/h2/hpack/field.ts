/** A header field of HTTP/2. */

/**
 * How its sender treats it: 'indexed' may be kept in tables; 'plain' is not worth it, or should not be compared with
 * others; 'never' must not be kept by anybody on the way (RFC 7541, section 6.2.3).
 */
export type Indexing = 'indexed' | 'plain' | 'never';

export interface Field {
  /** Of characters up to 255, each a byte. */
  readonly name: string;
  readonly value: string;
  readonly indexing: Indexing;
}

/** RFC 7541, section 4.1: what a field counts beside its name and its value. */
export const FIELD_OVERHEAD_BYTES = 32;

/** What a field counts in a table or a list. */
export function sizeOf({name, value}: Field): number {
  return name.length + value.length + FIELD_OVERHEAD_BYTES;
}

/** The table that every connection begins with: RFC 7541, appendix A; its first field has the index 1. */
export const STATIC_TABLE: readonly Field[] = `:authority
:method: GET
:method: POST
:path: /
:path: /index.html
:scheme: http
:scheme: https
:status: 200
:status: 204
:status: 206
:status: 304
:status: 400
:status: 404
:status: 500
accept-charset
accept-encoding: gzip, deflate
accept-language
accept-ranges
accept
access-control-allow-origin
age
allow
authorization
cache-control
content-disposition
content-encoding
content-language
content-length
content-location
content-range
content-type
cookie
date
etag
expect
expires
from
host
if-match
if-modified-since
if-none-match
if-range
if-unmodified-since
last-modified
link
location
max-forwards
proxy-authenticate
proxy-authorization
range
referer
refresh
retry-after
server
set-cookie
strict-transport-security
transfer-encoding
user-agent
vary
via
www-authenticate`
  .split('\n')
  .map((line) => {
    const colon = line.indexOf(': ');
    return {
      name: colon < 0 ? line : line.slice(0, colon),
      value: colon < 0 ? '' : line.slice(colon + 2),
      indexing: 'indexed',
    };
  });
