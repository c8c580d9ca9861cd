/** What a client of HTTP/2 may do to us. Node's own limits do the rest. */

import type {ServerSessionOptions} from 'node:http2';

/** Lines of a head: what fits into `maxHeaderListSize` with names and values. */
export const HEADER_PAIRS = 2000;

/**
 * Node's defaults, where nothing else is said: resets 1000 at once and 33 per second (CVE-2023-44487), 8 CONTINUATION
 * frames after a HEADERS (CVE-2024-27316), 10 MB per session, and answers to 10,000 PING or SETTINGS that
 * wait to be sent.
 */
export const SERVER_LIMITS: ServerSessionOptions = {
  maxHeaderListPairs: HEADER_PAIRS,
  maxSessionInvalidFrames: 100,
  settings: {
    // nginx allows 128, Go 250, Node any number.
    maxConcurrentStreams: 250,
    maxHeaderListSize: 65_536,
    initialWindowSize: 262_144,
  },
};
/** What all streams of a client's session may send us unread. */
export const SERVER_WINDOW_BYTES = 1_048_576;
