/**
 * What mirrord says in the heads of responses, and its own response. Every other line stays as it came. Sans-IO.
 */

import {isNamed, type Lines, nameBytes} from './lines.ts';
import type {HttpOptions} from './types.ts';

/** Who answered a request. */
export type Answerer = 'application' | 'program';

/** A line that takes the place of those of its name. */
export interface HeaderChange {
  readonly name: string;
  readonly value: string;
  /** In small letters. */
  readonly lowerName: Uint8Array;
  /** All of it, as HTTP/1 has it. */
  readonly line: Buffer;
}

/** Makes one. */
export function headerChange(name: string, value: string): HeaderChange {
  const line = Buffer.from(`${name}: ${value}\r\n`, 'latin1');
  return {name, value, lowerName: nameBytes(name), line};
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

/** The line that ends a connection after an answer with these options, of which others (RFC 9110, section 7.6.1) stay. */
export function closing(options: readonly string[]): HeaderChange {
  const others = options.filter((option) => option !== 'keep-alive' && option !== 'close');
  return headerChange('Connection', ['close', ...others].join(', '));
}

/**
 * Returns the parts of a message that begins with a head, after the changes: each in the place of the first line of its
 * name, or at the head's end. What stays is in the same memory.
 */
export function changeHead(
  message: Buffer,
  {lines, headLength}: {readonly lines: Lines; readonly headLength: number},
  changes: readonly HeaderChange[],
): Buffer[] {
  if (changes.length === 0) return [message];
  const parts: Buffer[] = [];
  const missing = [...changes];
  let from = 0;
  for (let at = 0; at < lines.length; at += 3) {
    const start = lines[at] ?? 0;
    const nameEnd = lines[at + 1] ?? 0;
    for (const change of changes) {
      if (!isNamed(message, start, nameEnd, change.lowerName)) continue;
      if (start > from) parts.push(message.subarray(from, start));
      const place = missing.indexOf(change);
      if (place >= 0) parts.push(change.line);
      if (place >= 0) missing.splice(place, 1);
      from = (lines[at + 2] ?? 0) + 2;
      break;
    }
  }
  const end = headLength - 2;
  if (missing.length > 0) {
    if (end > from) parts.push(message.subarray(from, end));
    for (const change of missing) parts.push(change.line);
    from = end;
  }
  parts.push(message.subarray(from));
  return parts;
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
