/** What happened to HTTP, since the agent started. Every limit has its number here. */

export interface HttpCounters {
  /** Connections, by what they turned out to speak. */
  http1Connections: number;
  http2Connections: number;
  rawConnections: number;
  /** Requests that went to the application, and to a program that steals. */
  passedRequests: number;
  stolenRequests: number;
  mirroredRequests: number;
  /** Requests that a program refused or dropped: sent to the application instead, or answered with 502. */
  movedRequests: number;
  failedRequests: number;
  /** Connections that carried something ambiguous, and are no longer looked at. */
  ambiguousConnections: number;
  /** Filters that were not answered in time: no match. */
  lateFilters: number;
  /** Bodies that were too large, or too slow, for a filter: no match. */
  unreadBodies: number;
  /** Copies that were given up, because the program that mirrors was too slow. */
  cutMirrors: number;
  /** Connections of HTTP/2 that do not pass as they are any more, since a request of theirs did not. */
  dividedConnections: number;
  /** Sessions of HTTP/2 that were ended because their client broke the protocol, or flooded us. */
  brokenSessions: number;
  /** Connections that were reset for a mistake of ours. */
  internalErrors: number;
}

/** The counters of this process. */
export const httpCounters: HttpCounters = {
  http1Connections: 0,
  http2Connections: 0,
  rawConnections: 0,
  passedRequests: 0,
  stolenRequests: 0,
  mirroredRequests: 0,
  movedRequests: 0,
  failedRequests: 0,
  ambiguousConnections: 0,
  lateFilters: 0,
  unreadBodies: 0,
  cutMirrors: 0,
  dividedConnections: 0,
  brokenSessions: 0,
  internalErrors: 0,
};
