/**
 * Follows objects as they change.
 *
 * Theory of operation. A watch without a version begins with an ADDED for each object that is there, so
 * that no list is needed before it. It ends when the server says so (every 30–60 minutes), or restarts, or
 * the connection breaks; it is then taken up at the last version seen, of which bookmarks tell even while
 * nothing changes. When the server no longer knows that version (410 Gone), the objects are listed and what
 * differs from what the caller knows is told: nothing is missed, though changes in between may be told as
 * one. Waits between attempts double from 250 ms to 8 s; the caller's signal ends it all.
 */

import type {Readable} from 'node:stream';
import {setTimeout as delay} from 'node:timers/promises';
import type {Query} from './client.ts';
import {hasStatus, KubeError} from './errors.ts';
import {backoffMs} from './retry.ts';

/** A change of an object. */
export interface WatchEvent<T> {
  type: 'ADDED' | 'MODIFIED' | 'DELETED';
  object: T;
}

/** What a watch is made of. */
export interface WatchSource<T> {
  list(signal: AbortSignal): Promise<{items: T[]; metadata: {resourceVersion?: string}}>;
  /** The body of a watch: an event a line. */
  watch(query: Query, signal: AbortSignal): Promise<Readable>;
  /** Makes an error of a broken connection. */
  failed(error: unknown): Error;
  signal: AbortSignal;
}

interface Metadata {
  uid?: string;
  name?: string;
  resourceVersion?: string;
}

const pauses = {minMs: 250, maxMs: 8_000};
/** A line of more than this is no object of Kubernetes, characters: etcd takes 1.5 MB. */
const lineLimit = 16 * 1024 * 1024;

function metadata(object: object): Metadata {
  return (object as {metadata?: Metadata}).metadata ?? {};
}

/** Splits a stream of bytes into its lines. */
async function* lines(body: Readable): AsyncIterable<string> {
  body.setEncoding('utf8');
  let rest = '';
  for await (const text of body as AsyncIterable<string>) {
    const parts = (rest + text).split('\n');
    rest = parts.pop() ?? '';
    if (rest.length > lineLimit) throw new Error('an event of the watch is too long');
    yield* parts;
  }
}

/** Whether the next attempt may do better. */
function isPassing(error: unknown): boolean {
  return !(error instanceof KubeError) || error.isRetryable || error.status === undefined;
}

/**
 * How long a watch that was allowed may be refused, in ms: an API server that has just started authorises by
 * what it has read of the roles so far.
 */
const forgivenMs = 10_000;

/** Follows the objects until the signal, whose reason it then throws. Throws KubeError for refusals. */
export async function* watchObjects<T extends object>({
  list,
  watch,
  failed,
  signal,
}: WatchSource<T>): AsyncIterable<WatchEvent<T>> {
  const known = new Map<string, T>();
  let version: string | undefined;
  let failures = 0;
  /** When a watch that had been allowed was refused first. */
  let refusedAt: number | undefined;
  let wasAllowed = false;
  const isForgiven = (error: unknown): boolean => {
    if (!wasAllowed || !hasStatus(error, 403)) return false;
    refusedAt ??= performance.now();
    return performance.now() - refusedAt < forgivenMs;
  };

  const learn = (type: WatchEvent<T>['type'], object: T): WatchEvent<T> => {
    const {uid = '', resourceVersion} = metadata(object);
    version = resourceVersion ?? version;
    if (type === 'DELETED') known.delete(uid);
    else known.set(uid, object);
    return {type, object};
  };

  /** Tells what happened while nobody listened. */
  async function* resync(): AsyncIterable<WatchEvent<T>> {
    const {items, metadata: listed} = await list(signal);
    const gone = new Map(known);
    for (const object of items) {
      const {uid = '', resourceVersion} = metadata(object);
      const before = gone.get(uid);
      gone.delete(uid);
      if (before === undefined) yield learn('ADDED', object);
      else if (metadata(before).resourceVersion !== resourceVersion)
        yield learn('MODIFIED', object);
    }
    for (const object of gone.values()) yield learn('DELETED', object);
    version = listed.resourceVersion;
  }

  let isExpired = false;
  for (;;) {
    signal.throwIfAborted();
    try {
      if (isExpired) {
        isExpired = false;
        yield* resync();
      }
      const body = await watch({allowWatchBookmarks: true, resourceVersion: version}, signal);
      wasAllowed = true;
      refusedAt = undefined;
      for await (const line of lines(body)) {
        if (line === '') continue;
        const {type, object} = JSON.parse(line) as {type: string; object: T};
        failures = 0;
        if (type === 'BOOKMARK') version = metadata(object).resourceVersion ?? version;
        else if (type === 'ERROR') throw expired(object);
        else yield learn(type as WatchEvent<T>['type'], object);
      }
    } catch (error) {
      signal.throwIfAborted();
      if (hasStatus(error, 410)) isExpired = true;
      else if (!isPassing(error) && !isForgiven(error)) throw failed(error);
    }
    // Also after a regular end: a server that ends every watch at once must not be asked in a loop.
    await delay(failures === 0 ? 0 : backoffMs(failures, pauses), undefined, {signal}).catch(() =>
      signal.throwIfAborted(),
    );
    failures += 1;
  }
}

/** The error that a watch ends with: a version that is too old, or anything else. */
function expired(object: object): KubeError {
  const {
    code = 500,
    reason,
    message = 'the watch failed',
  } = object as {
    code?: number;
    reason?: string;
    message?: string;
  };
  return new KubeError('MIRRORD_KUBE_UNAVAILABLE', `the API server ended a watch: ${message}`, {
    answer: message,
    status: code,
    ...(reason !== undefined && {reason}),
    isRetryable: code >= 500,
    hint: 'try again',
  });
}
