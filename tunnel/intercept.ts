/**
 * Subscriptions to connections of the target: what the layer asks for, and what it hears.
 *
 * One call for a port. It stands for as long as its stream, also while the tunnel is suspended; to end it gives
 * the port back. The connections themselves are streams of kind `tcp` that the agent opens (messages.ts).
 */

import {startCall} from './calls.ts';
import {type HttpFilter, parseHttpFilter} from './http-filter.ts';
import type {Mux} from './mux.ts';
import {METHOD} from './target.ts';
import type {ErrnoName, MuxStream} from './types.ts';

/** Whether the program answers, or gets a copy. */
export type InterceptMode = 'steal' | 'mirror';

/** What to do when somebody else steals the same: fail, take it from them, or have it together. */
export type OnConcurrentSteal = 'abort' | 'override' | 'continue';

/** How the agent is to treat HTTP; what is absent is the agent's own choice. */
export interface HttpParams {
  readonly detectionTimeoutMs?: number;
  readonly maxBodyBytes?: number;
  readonly bodyTimeoutMs?: number;
  readonly jqTimeLimitMs?: number;
  readonly injectHeaders?: boolean;
  readonly overrideCacheControl?: boolean;
}

/** A wish for the connections to a port of the target. */
export interface InterceptParams {
  /** The client's own number for it: unique among its subscriptions, 32 bits. */
  readonly id: number;
  readonly port: number;
  readonly mode: InterceptMode;
  readonly onConcurrentSteal: OnConcurrentSteal;
  /** Whether connections that stand already are cut, so that their clients connect again: of a steal. */
  readonly flushConnections?: boolean | undefined;
  /** Only these requests; undefined: the connections as they are. */
  readonly filter?: HttpFilter | undefined;
  readonly http?: HttpParams | undefined;
}

/**
 * Why there is nothing to be had, or no more: EPERM (the agent may not change the pod's rules), ENOTSUP (nothing
 * here can), EADDRINUSE (somebody else has the port), EBUSY (it was taken over), EINVAL, EMFILE.
 */
export type InterceptFailure = 'EPERM' | 'ENOTSUP' | 'EADDRINUSE' | 'EBUSY' | 'EINVAL' | 'EMFILE';

/** What happens to a subscription. */
export type InterceptEvent =
  /** From now on connections come. */
  | {readonly event: 'active'}
  /** None come, or no more. */
  | {readonly event: 'failed'; readonly errno: InterceptFailure; readonly message: string}
  /** Something that the person should hear of; `code` tells repetitions. */
  | {readonly event: 'warning'; readonly code: string; readonly message: string};

const MODES: readonly unknown[] = ['steal', 'mirror'];
const ON_CONCURRENT: readonly unknown[] = ['abort', 'override', 'continue'];
const HTTP_KEYS = ['detectionTimeoutMs', 'maxBodyBytes', 'bodyTimeoutMs', 'jqTimeLimitMs'] as const;
/** A day, or 16 MiB: nobody means more. */
const HTTP_MAX = {
  detectionTimeoutMs: 86_400_000,
  bodyTimeoutMs: 86_400_000,
  jqTimeLimitMs: 86_400_000,
  maxBodyBytes: 16_777_216,
} as const;

/** Reads parameters; undefined for those that make no sense. */
export function parseInterceptParams(value: unknown): InterceptParams | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const fields: Record<string, unknown> = {...value};
  const {id, port, mode, onConcurrentSteal = 'abort', flushConnections, filter, http} = fields;
  if (!isWhole(id, 0, 0xffff_ffff) || !isWhole(port, 1, 65_535)) return undefined;
  if (!MODES.includes(mode) || !ON_CONCURRENT.includes(onConcurrentSteal)) return undefined;
  const parsed = filter === undefined || filter === null ? undefined : parseHttpFilter(filter);
  if (parsed === undefined && filter !== undefined && filter !== null) return undefined;
  return {
    id,
    port,
    mode: mode as InterceptMode,
    onConcurrentSteal: onConcurrentSteal as OnConcurrentSteal,
    flushConnections: flushConnections === true,
    filter: parsed,
    http: parseHttpParams(http),
  };
}

function parseHttpParams(value: unknown): HttpParams {
  if (typeof value !== 'object' || value === null) return {};
  const fields: Record<string, unknown> = {...value};
  const numbers = HTTP_KEYS.filter((key) => isWhole(fields[key], 0, HTTP_MAX[key]));
  const flags = (['injectHeaders', 'overrideCacheControl'] as const).filter(
    (key) => typeof fields[key] === 'boolean',
  );
  return Object.fromEntries([...numbers, ...flags].map((key) => [key, fields[key]]));
}

function isWhole(value: unknown, least: number, most: number): value is number {
  return Number.isInteger(value) && (value as number) >= least && (value as number) <= most;
}

function isEvent(value: unknown): value is InterceptEvent {
  return typeof value === 'object' && value !== null && 'event' in value;
}

/** Subscribes; the returned stream's `reset('ECANCELED')` gives the port back. */
export function subscribeIncoming(
  mux: Mux,
  params: InterceptParams,
  handler: {
    onEvent(event: InterceptEvent): void;
    /** The agent has ended it, or the tunnel has. ENOSYS: an agent that knows nothing of this. */
    onEnd(errno: ErrnoName | undefined): void;
  },
): MuxStream {
  return startCall(
    mux,
    {method: METHOD.intercept, params},
    {
      onItem(item) {
        if (isEvent(item)) handler.onEvent(item);
      },
      onEnd: (errno) => handler.onEnd(errno),
    },
  );
}
