/**
 * Heads of HTTP/1 messages: what of them decides where a message ends, and what filters look at. Sans-IO.
 *
 * Nothing is rewritten from what is read here: the bytes travel as they came. So a head is either understood
 * exactly as every server would, or not at all: whatever RFC 9112 calls an error, leaves to the
 * recipient, or lets it repair (section 2.2, 5.1, 5.2, 6.3), and what request smuggling is made of, has
 * no framing that we would know, and parses to undefined.
 */

import {type Framing, NO_BODY} from './body.ts';
import {endOfFirstLine, isNamed, type Lines, nameBytes, readLines, textOfValue} from './lines.ts';

export interface RequestHead {
  readonly method: string;
  readonly target: string;
  readonly framing: Framing;
  /** The client says that it asks nothing more. */
  readonly isLast: boolean;
  readonly lines: Lines;
}

export interface ResponseHead {
  readonly status: number;
  readonly framing: Framing;
  /** Another response to the same request follows. */
  readonly isInterim: boolean;
  /** The server ends the connection after this response. */
  readonly isLast: boolean;
  /** What its Connection lines say, in small letters. */
  readonly options: readonly string[];
  /** What follows is not HTTP/1. */
  readonly isSwitch: boolean;
  readonly lines: Lines;
}

const REQUEST_LINE = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([^ \t]+) HTTP\/1\.([01])$/;
const STATUS_LINE = /^HTTP\/1\.([01]) ([1-5]\d\d)(?: .*)?$/;
/** Some servers take `_` for `-`, and would find a length where others find none. */
const DISGUISED = /^(?:content_length|transfer_encoding|content-length\W|transfer-encoding\W)$/i;

const CONTENT_LENGTH = nameBytes('content-length');
const TRANSFER_ENCODING = nameBytes('transfer-encoding');
const CONNECTION = nameBytes('connection');

/** Reads a head with its empty line. */
export function parseRequestHead(bytes: Buffer): RequestHead | undefined {
  const lineEnd = endOfFirstLine(bytes);
  if (lineEnd < 0) return undefined;
  const line = REQUEST_LINE.exec(bytes.toString('latin1', 0, lineEnd));
  const lines = readLines(bytes, lineEnd + 2);
  if (line === null || lines === undefined) return undefined;
  const [, method = '', target = '', minor = ''] = line;
  const declared = readDeclared(bytes, lines);
  if (declared === undefined) return undefined;
  const framing = framingOf(declared, minor === '1');
  // RFC 9110, section 9.3.6: a CONNECT has no body, yet some servers would read one.
  if (framing === undefined || (method === 'CONNECT' && framing !== 'none')) return undefined;
  return {
    method,
    target,
    framing: framing === 'none' ? NO_BODY : framing,
    isLast: isLastOf(minor, declared.tokens),
    lines,
  };
}

/** Reads a head with its empty line. `request` is the one that it answers. */
export function parseResponseHead(bytes: Buffer, request: RequestHead): ResponseHead | undefined {
  const lineEnd = endOfFirstLine(bytes);
  if (lineEnd < 0) return undefined;
  const line = STATUS_LINE.exec(bytes.toString('latin1', 0, lineEnd));
  const lines = readLines(bytes, lineEnd + 2);
  if (line === null || lines === undefined) return undefined;
  const [, minor = '', digits = ''] = line;
  const status = Number(digits);
  const declared = readDeclared(bytes, lines);
  const found = declared && framingOf(declared, minor === '1');
  if (declared === undefined || found === undefined) return undefined;
  const isSwitch =
    status === 101 || (request.method === 'CONNECT' && status >= 200 && status < 300);
  const isInterim = status < 200 && !isSwitch;
  const hasBody = !isInterim && status !== 204 && status !== 304 && request.method !== 'HEAD';
  const framing = found === 'none' ? TO_THE_END : found;
  return {
    status,
    framing: hasBody && !isSwitch ? framing : NO_BODY,
    isInterim,
    isLast: request.isLast || isLastOf(minor, declared.tokens),
    options: declared.tokens,
    isSwitch,
    lines,
  };
}

/** The lines of a head as filters see them: "Name: value". */
export function headersOf(bytes: Buffer, lines: Lines): string[] {
  const headers: string[] = [];
  for (let at = 0; at < lines.length; at += 3) {
    const [start = 0, nameEnd = 0, end = 0] = [lines[at], lines[at + 1], lines[at + 2]];
    headers.push(
      `${bytes.toString('latin1', start, nameEnd)}: ${textOfValue(bytes, nameEnd, end)}`,
    );
  }
  return headers;
}

const TO_THE_END: Framing = {kind: 'close'};

/** What a head says of its message's length, and of what comes after it. */
interface Declared {
  length: string | undefined;
  coding: string | undefined;
  tokens: readonly string[];
}

const NO_TOKENS: readonly string[] = [];

/** Undefined: something is said twice, or in disguise. */
function readDeclared(bytes: Buffer, lines: Lines): Declared | undefined {
  const found: Declared = {
    length: undefined,
    coding: undefined,
    tokens: NO_TOKENS,
  };
  for (let at = 0; at < lines.length; at += 3) {
    const start = lines[at] ?? 0;
    const nameEnd = lines[at + 1] ?? 0;
    const lineEnd = lines[at + 2] ?? 0;
    switch (nameEnd - start) {
      case 10:
        if (isNamed(bytes, start, nameEnd, CONNECTION)) {
          const tokens = textOfValue(bytes, nameEnd, lineEnd).split(',');
          found.tokens = [...found.tokens, ...tokens.map((token) => token.trim().toLowerCase())];
        }
        break;
      case 14:
        if (isNamed(bytes, start, nameEnd, CONTENT_LENGTH)) {
          if (found.length !== undefined) return undefined;
          found.length = textOfValue(bytes, nameEnd, lineEnd);
        } else if (DISGUISED.test(bytes.toString('latin1', start, nameEnd))) return undefined;
        break;
      case 17:
        if (isNamed(bytes, start, nameEnd, TRANSFER_ENCODING)) {
          if (found.coding !== undefined) return undefined;
          found.coding = textOfValue(bytes, nameEnd, lineEnd);
        } else if (DISGUISED.test(bytes.toString('latin1', start, nameEnd))) return undefined;
        break;
      case 15:
      case 18:
        if (DISGUISED.test(bytes.toString('latin1', start, nameEnd))) return undefined;
        break;
      default:
    }
  }
  return found;
}

/** RFC 9112, section 6.3, without everything that it allows to be repaired. */
function framingOf({length, coding}: Declared, knowsChunks: boolean): Framing | 'none' | undefined {
  if (coding !== undefined) {
    if (length !== undefined || !knowsChunks || coding.toLowerCase() !== 'chunked')
      return undefined;
    return {kind: 'chunked'};
  }
  if (length === undefined) return 'none';
  if (!/^\d{1,15}$/.test(length)) return undefined;
  return length === '0' ? NO_BODY : {kind: 'length', bytes: Number(length)};
}

function isLastOf(minor: string, connection: readonly string[]): boolean {
  return connection.includes('close') || (minor === '0' && !connection.includes('keep-alive'));
}
