/**
 * What mirrord says in the heads of responses, and its own response. Every other line stays as it came. Sans-IO.
 */

import type {HeaderField} from './head.ts';
import type {HttpOptions} from './types.ts';

/** Who answered a request. */
export type Answerer = 'application' | 'program';

/** A line that takes the place of those of its name. */
export interface HeaderChange {
  readonly name: string;
  readonly value: string;
  /** All of it, as HTTP/1 has it. */
  readonly line: Buffer;
}

/** Makes one. */
export function headerChange(name: string, value: string): HeaderChange {
  return {name, value, line: Buffer.from(`${name}: ${value}\r\n`, 'latin1')};
}

const NO_CACHE = headerChange('Cache-Control', 'no-cache, no-store, must-revalidate');
const ANSWERED: Readonly<Record<Answerer, HeaderChange>> = {
  application: headerChange('Mirrord-Agent', 'passed-through'),
  program: headerChange('Mirrord-Agent', 'forwarded-to-client'),
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
  const changes: HeaderChange[] = [];
  if (overrideCacheControl && isContested && answerer === 'application') changes.push(NO_CACHE);
  if (injectHeaders) changes.push(ANSWERED[answerer]);
  return changes;
}

/**
 * Returns the parts of the head, with its empty line, after the changes: each in the place of the first of its name, or at
 * the end. What stays is in the same memory.
 */
export function changeHead(
  bytes: Buffer,
  fields: readonly HeaderField[],
  changes: readonly HeaderChange[],
): Buffer[] {
  if (changes.length === 0) return [bytes];
  const parts: Buffer[] = [];
  const made = new Set<HeaderChange>();
  let from = 0;
  for (const {name, start, end} of fields) {
    const change = changes.find((each) => isNamed(name, each));
    if (change === undefined) continue;
    parts.push(bytes.subarray(from, start));
    if (!made.has(change)) parts.push(change.line);
    made.add(change);
    from = end;
  }
  const end = bytes.length - 2;
  parts.push(bytes.subarray(from, end));
  for (const change of changes) if (!made.has(change)) parts.push(change.line);
  parts.push(bytes.subarray(end));
  return parts;
}

function isNamed(name: string, change: HeaderChange): boolean {
  return name.length === change.name.length && name.toLowerCase() === change.name.toLowerCase();
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
