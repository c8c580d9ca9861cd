/**
 * What mirrord says in the heads of responses, and its own response. Every other line stays as it came. Sans-IO.
 */

import type {HttpOptions} from './types.ts';

/** Who answered a request. */
export type Answerer = 'application' | 'program';

/** A line that takes the place of those of its name. */
export interface HeaderChange {
  readonly name: string;
  readonly value: string;
}

const NO_CACHE: HeaderChange = {
  name: 'Cache-Control',
  value: 'no-cache, no-store, must-revalidate',
};

/**
 * Returns the lines that change. Caches are told off only where somebody steals: there the same URL has
 * two answers, and a cache would give one of them to the other's clients.
 */
export function responseChanges(
  answerer: Answerer,
  isContested: boolean,
  {injectHeaders, overrideCacheControl}: HttpOptions,
): HeaderChange[] {
  const isPassed = answerer === 'application';
  const changes = overrideCacheControl && isContested && isPassed ? [NO_CACHE] : [];
  const value = isPassed ? 'passed-through' : 'forwarded-to-client';
  return injectHeaders ? [...changes, {name: 'Mirrord-Agent', value}] : changes;
}

/** Returns the head, with its empty line, after the changes: each in the place of the first of its name, or at the end. */
export function changeHead(bytes: Buffer, changes: readonly HeaderChange[]): Buffer {
  if (changes.length === 0) return bytes;
  let lines = bytes.toString('latin1', 0, bytes.length - 4).split('\r\n');
  for (const {name, value} of changes) {
    const prefix = `${name.toLowerCase()}:`;
    const isOne = (line: string): boolean =>
      line.length >= prefix.length && line.slice(0, prefix.length).toLowerCase() === prefix;
    const first = lines.findIndex(isOne);
    const at = first < 0 ? lines.length : first;
    lines = lines.toSpliced(at, first < 0 ? 0 : 1, `${name}: ${value}`);
    lines = lines.filter((line, index) => index <= at || !isOne(line));
  }
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');
}

/** What a client hears whose request was lost in a program, and can't be sent again. */
export const LOST_REQUEST_TEXT =
  'mirrord: the local program dropped the connection before it answered this request\n';

/** Returns the response that says so, after which the connection ends. */
export function emitBadGateway(method: string): Buffer {
  const body = method === 'HEAD' ? '' : LOST_REQUEST_TEXT;
  const lines = [
    'HTTP/1.1 502 Bad Gateway',
    'Content-Type: text/plain; charset=utf-8',
    `Content-Length: ${LOST_REQUEST_TEXT.length}`,
    'Connection: close',
  ];
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n${body}`, 'latin1');
}
