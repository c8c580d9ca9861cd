/**
 * Heads of HTTP/1 messages: what of them decides where a message ends, and what filters look at. Sans-IO.
 *
 * Nothing is rewritten from what is read here: the bytes travel as they came. So a head is either understood
 * exactly as every server would, or not at all: whatever RFC 9112 calls an error, leaves to the
 * recipient, or lets it repair (section 2.2, 5.1, 5.2, 6.3), and what request smuggling is made of, has
 * no framing that we would know, and parses to undefined.
 */

import {type Framing, NO_BODY} from './body.ts';

/** One line of a head. */
export interface HeaderField {
  /** As it came. */
  readonly name: string;
  /** Without white space around it, bytes as Latin-1. */
  readonly value: string;
  /** Where its line begins in the head, and where it ends with its CRLF. */
  readonly start: number;
  readonly end: number;
}

export interface RequestHead {
  readonly method: string;
  readonly target: string;
  readonly fields: readonly HeaderField[];
  readonly framing: Framing;
  /** After a 101, or a 2xx to CONNECT, the connection is no longer HTTP/1. */
  readonly mayUpgrade: boolean;
  /** The client says that it asks nothing more. */
  readonly isLast: boolean;
}

export interface ResponseHead {
  readonly status: number;
  readonly fields: readonly HeaderField[];
  readonly framing: Framing;
  /** Another response to the same request follows. */
  readonly isInterim: boolean;
  /** The server ends the connection after this response. */
  readonly isLast: boolean;
  /** What follows is not HTTP/1. */
  readonly isSwitch: boolean;
}

const REQUEST_LINE = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([^ \t]+) HTTP\/1\.([01])$/;
const STATUS_LINE = /^HTTP\/1\.([01]) ([1-5]\d\d)(?: .*)?$/;
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** Some servers take `_` for `-`, and would find a length where others find none. */
const DISGUISED = /^(?:content_length|transfer_encoding|content-length\W|transfer-encoding\W)$/i;

/** Reads a head with its empty line. */
export function parseRequestHead(bytes: Buffer): RequestHead | undefined {
  const text = bytes.toString('latin1');
  const lineEnd = text.indexOf('\r\n');
  const [, method = '', target = '', minor] = REQUEST_LINE.exec(text.slice(0, lineEnd)) ?? [];
  const fields = hasControl(bytes) ? undefined : parseFields(text, lineEnd + 2);
  if (minor === undefined || fields === undefined) return undefined;
  const declared = declaredFraming(fields, minor === '1');
  if (declared === undefined) return undefined;
  const connection = tokensOf(fields, 'connection');
  const isConnect = method === 'CONNECT';
  // RFC 9110, section 9.3.6: a CONNECT has no body, yet some servers would read one.
  if (isConnect && declared !== 'none') return undefined;
  return {
    method,
    target,
    fields,
    framing: declared === 'none' || declared === 'close' ? NO_BODY : declared,
    mayUpgrade: isConnect || (connection.includes('upgrade') && hasField(fields, 'upgrade')),
    isLast: isLastOf(minor, connection),
  };
}

/** Reads a head with its empty line. `request` is the one that it answers. */
export function parseResponseHead(bytes: Buffer, request: RequestHead): ResponseHead | undefined {
  const text = bytes.toString('latin1');
  const lineEnd = text.indexOf('\r\n');
  const [, minor, digits = ''] = STATUS_LINE.exec(text.slice(0, lineEnd)) ?? [];
  const fields = hasControl(bytes) ? undefined : parseFields(text, lineEnd + 2);
  if (minor === undefined || fields === undefined) return undefined;
  const status = Number(digits);
  const declared = declaredFraming(fields, minor === '1');
  if (declared === undefined) return undefined;
  const isSwitch =
    status === 101 || (request.method === 'CONNECT' && status >= 200 && status < 300);
  const isInterim = status < 200 && !isSwitch;
  const hasBody = !isInterim && status !== 204 && status !== 304 && request.method !== 'HEAD';
  const framing =
    declared === 'none' || declared === 'close' ? ({kind: 'close'} as const) : declared;
  return {
    status,
    fields,
    framing: hasBody && !isSwitch ? framing : NO_BODY,
    isInterim,
    isLast: request.isLast || isLastOf(minor, tokensOf(fields, 'connection')),
    isSwitch,
  };
}

/** Whether there is a control character besides tabs and the ends of lines. */
function hasControl(bytes: Buffer): boolean {
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at] ?? 0;
    if (byte >= 0x20 ? byte !== 0x7f : byte === 0x09 || byte === 0x0a) continue;
    if (byte !== 0x0d || bytes[at + 1] !== 0x0a) return true;
  }
  return false;
}

/** Reads lines up to the empty one, which ends the text. */
function parseFields(text: string, from: number): HeaderField[] | undefined {
  const fields: HeaderField[] = [];
  let start = from;
  while (start < text.length - 2) {
    const lineEnd = text.indexOf('\r\n', start);
    const colon = text.indexOf(':', start);
    if (colon < 0 || colon > lineEnd) return undefined;
    const name = text.slice(start, colon);
    // Also a folded line, and white space before the colon.
    if (!TOKEN.test(name) || (isSuspect(name) && DISGUISED.test(name))) return undefined;
    fields.push({name, value: trimmed(text, colon + 1, lineEnd), start, end: lineEnd + 2});
    start = lineEnd + 2;
  }
  return fields;
}

/** Of a length that a disguised name has. */
function isSuspect({length}: string): boolean {
  return length === 14 || length === 15 || length === 17 || length === 18;
}

/** Only blank and tab are white space here: `trim` would take more. */
function trimmed(text: string, from: number, to: number): string {
  let start = from;
  let end = to;
  while (start < end && isBlank(text.charCodeAt(start))) start++;
  while (end > start && isBlank(text.charCodeAt(end - 1))) end--;
  return text.slice(start, end);
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}

/** RFC 9112, section 6.3, without everything that it allows to be repaired. */
function declaredFraming(
  fields: readonly HeaderField[],
  knowsChunks: boolean,
): Framing | 'none' | 'close' | undefined {
  let length: string | undefined;
  let coding: string | undefined;
  for (const {name, value} of fields) {
    if (name.length === 14 && name.toLowerCase() === 'content-length') {
      if (length !== undefined) return undefined;
      length = value;
    } else if (name.length === 17 && name.toLowerCase() === 'transfer-encoding') {
      if (coding !== undefined) return undefined;
      coding = value;
    }
  }
  if (coding !== undefined) {
    if (length !== undefined || !knowsChunks || coding.toLowerCase() !== 'chunked')
      return undefined;
    return {kind: 'chunked'};
  }
  if (length === undefined) return 'none';
  if (!/^\d{1,15}$/.test(length)) return undefined;
  return length === '0' ? NO_BODY : {kind: 'length', bytes: Number(length)};
}

function hasField(fields: readonly HeaderField[], name: string): boolean {
  return fields.some((field) => field.name.toLowerCase() === name);
}

function tokensOf(fields: readonly HeaderField[], name: string): string[] {
  const tokens: string[] = [];
  for (const field of fields) {
    if (field.name.length !== name.length || field.name.toLowerCase() !== name) continue;
    tokens.push(...field.value.split(',').map((token) => token.trim().toLowerCase()));
  }
  return tokens;
}

function isLastOf(minor: string, connection: readonly string[]): boolean {
  return connection.includes('close') || (minor === '0' && !connection.includes('keep-alive'));
}
