/**
 * What the interceptor and its HTTP part say to each other: `relayRedirected` (relay.ts) takes a connection that
 * may carry requests for clients, and whatever is not for them reaches the application.
 */

import type {Passage} from '../../../sockets/passage.ts';
import type {StreamSocket} from '../../../sockets/types.ts';
import type {HttpFilter} from '../../../tunnel/http-filter.ts';
import type {LettingGo} from '../letting-go.ts';

/**
 * One client's wish for requests of a port. Order of asking is the order of the list. The object may be another one each
 * time: a subscription is known by its id, and what is compiled from a filter is kept by the filter's object.
 */
export interface HttpSubscription {
  /** Of the client's subscription; unique within the agent. */
  readonly id: number;
  readonly mode: 'steal' | 'mirror';
  /**
   * Undefined: every request, and every connection that is no HTTP (an unfiltered steal on a port whose traffic is
   * split by request).
   */
  readonly filter: HttpFilter | undefined;
  /**
   * A new connection into the client's program, by a stream of the tunnel, which nobody reads yet. Rejects when it refuses or
   * is gone.
   */
  connect(): Promise<StreamSocket>;
  /** Something that the person should hear of, once per subscription and code (`warnings.ts`). */
  warn(code: WarningCode, message: string): void;
}

/** What a client can be told about its subscription. */
export type WarningCode =
  /** The filter cannot be evaluated: it fits nothing. */
  | 'MIRRORD_HTTP_FILTER_INVALID'
  /** The filter took too long for a request, which then did not fit. */
  | 'MIRRORD_HTTP_FILTER_LATE'
  /** The program took copies of requests more slowly than they came: some are cut off. */
  | 'MIRRORD_HTTP_MIRROR_SLOW';

/** A connection that was redirected to the agent. It belongs to `relayRedirected` from then on. */
export interface RedirectedConnection {
  /** Nothing was read from it. */
  readonly socket: StreamSocket;
  /** Hears what of it is not passed on as it is. */
  readonly passage: Passage;
  /** Says that the connection is to be let go, as soon as that costs nobody a request. */
  readonly lettingGo: LettingGo;
  /**
   * Starts a connection to the application at its original address; returns its descriptor, the caller's to close. Throws
   * when nobody is there.
   */
  dialApplication(): number;
  /** The subscriptions of the port as they are now; asked for each request. The same list while nothing changes. */
  subscriptions(): readonly HttpSubscription[];
}

/** What the agent's configuration says about HTTP. */
export interface HttpOptions {
  /** How long a client may be silent before the application is connected. */
  readonly detectionTimeoutMs: number;
  /** What is kept of a body for filters, and of a request so that it can be sent again. */
  readonly maxBodyBytes: number;
  /** How long a filter waits for a body. */
  readonly bodyTimeoutMs: number;
  /** How long jq programs, JSONPaths and patterns with look-around may think about a request. */
  readonly jqTimeLimitMs: number;
  /** How long what follows on a connection of HTTP/2 waits for a filter that thinks, so that it can pass as it is. */
  readonly holdMs: number;
  /** Says in responses who answered: `Mirrord-Agent`. */
  readonly injectHeaders: boolean;
  /** Forbids caches to keep what the application answers where somebody steals. */
  readonly overrideCacheControl: boolean;
}

/** What mirrord's documentation says, where nothing else is configured. */
export const HTTP_DEFAULTS: HttpOptions = {
  detectionTimeoutMs: 2000,
  maxBodyBytes: 65_535,
  bodyTimeoutMs: 1000,
  jqTimeLimitMs: 500,
  holdMs: 50,
  injectHeaders: false,
  overrideCacheControl: true,
};
