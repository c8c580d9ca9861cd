/**
 * Heads of HTTP/1 messages: what of them decides where a message ends, and what filters look at. Sans-IO.
 *
 * Nothing is rewritten from what is read here: the bytes travel as they came. So a head is either understood
 * exactly as every server would, or not at all: whatever RFC 9112 calls an error, leaves to the
 * recipient, or lets it repair (section 2.2, 5.1, 5.2, 6.3), and what request smuggling is made of, has
 * no framing that we would know, and parses to undefined.
 */

import {type Framing, NO_BODY} from './body.ts';
import {IS_TOKEN, isTarget} from './detect.ts';
import {
  endOfValue,
  isControl,
  isNamed,
  type Lines,
  nameBytes,
  readLines,
  startOfValue,
  textOfValue,
} from './lines.ts';

export interface RequestHead {
  readonly method: string;
  /** Where the target is. */
  readonly targetStart: number;
  readonly targetEnd: number;
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
  /** What follows is not HTTP/1. */
  readonly isSwitch: boolean;
  readonly lines: Lines;
}

/** Some servers take `_` for `-`, and would find a length where others find none. */
const DISGUISED = /^(?:content_length|transfer_encoding|content-length\W|transfer-encoding\W)$/i;

const VERSION = Buffer.from('HTTP/1.', 'latin1');
const CONTENT_LENGTH = nameBytes('content-length');
const TRANSFER_ENCODING = nameBytes('transfer-encoding');
const CONNECTION = nameBytes('connection');
const CHUNKED = nameBytes('chunked');
const CLOSE = nameBytes('close');
const KEEP_ALIVE = nameBytes('keep-alive');

const CR = 0x0d;
const LF = 0x0a;
const SPACE = 0x20;
const ZERO = 0x30;
/** Digits of a length. */
const LENGTH_DIGITS = 15;

/** Reads a head with its empty line: RFC 9112, section 3, with single blanks. */
export function parseRequestHead(bytes: Buffer): RequestHead | undefined {
  const {length} = bytes;
  let at = 0;
  while (at < length && IS_TOKEN[bytes[at] ?? 0]) at++;
  const methodEnd = at;
  if (at === 0 || bytes[at] !== SPACE) return undefined;
  const targetStart = ++at;
  while (at < length && isTarget(bytes[at] ?? 0)) at++;
  const targetEnd = at;
  if (at === targetStart || bytes[at] !== SPACE) return undefined;
  const minor = minorAt(bytes, at + 1);
  const lineEnd = at + 9;
  if (minor < 0 || bytes[lineEnd] !== CR || bytes[lineEnd + 1] !== LF) return undefined;
  const lines = readLines(bytes, lineEnd + 2);
  const declared = lines && readDeclared(bytes, lines);
  if (lines === undefined || declared === undefined) return undefined;
  const method = methodOf(bytes, methodEnd);
  const framing = framingOf(declared, minor);
  // RFC 9110, section 9.3.6: a CONNECT has no body, yet some servers would read one.
  if (framing === undefined || (method === 'CONNECT' && framing !== 'none')) return undefined;
  return {
    method,
    targetStart,
    targetEnd,
    framing: framing === 'none' ? NO_BODY : framing,
    isLast: isLastOf(minor, declared),
    lines,
  };
}

/** The digit of an HTTP/1 version at a place; -1 if it is none. */
function minorAt(bytes: Uint8Array, at: number): number {
  for (let i = 0; i < VERSION.length; i++) if (bytes[at + i] !== VERSION[i]) return -1;
  const minor = (bytes[at + VERSION.length] ?? 0) - ZERO;
  return minor === 0 || minor === 1 ? minor : -1;
}

function methodOf(bytes: Buffer, end: number): string {
  const isGet = end === 3 && bytes[0] === 0x47 && bytes[1] === 0x45 && bytes[2] === 0x54;
  return isGet ? 'GET' : bytes.toString('latin1', 0, end);
}

/** Reads a head with its empty line. `request` is the one that it answers. */
export function parseResponseHead(bytes: Buffer, request: RequestHead): ResponseHead | undefined {
  const minor = minorAt(bytes, 0);
  const status = minor < 0 ? 0 : statusAt(bytes, VERSION.length + 1);
  if (status === 0) return undefined;
  let lineEnd = VERSION.length + 5;
  // RFC 9112, section 4: a reason may be missing.
  if (bytes[lineEnd] === SPACE) {
    while (lineEnd < bytes.length && !isControl(bytes[lineEnd] ?? 0)) lineEnd++;
  }
  if (bytes[lineEnd] !== CR || bytes[lineEnd + 1] !== LF) return undefined;
  const lines = readLines(bytes, lineEnd + 2);
  const declared = lines && readDeclared(bytes, lines);
  const found = declared && framingOf(declared, minor);
  if (lines === undefined || declared === undefined || found === undefined) return undefined;
  const isSwitch =
    status === 101 || (request.method === 'CONNECT' && status >= 200 && status < 300);
  const isInterim = status < 200 && !isSwitch;
  const hasBody = !isInterim && status !== 204 && status !== 304 && request.method !== 'HEAD';
  const framing = found === 'none' ? TO_THE_END : found;
  return {
    status,
    framing: hasBody && !isSwitch ? framing : NO_BODY,
    isInterim,
    isLast: request.isLast || isLastOf(minor, declared),
    isSwitch,
    lines,
  };
}

/** The status behind a blank; 0 if it is none. */
function statusAt(bytes: Uint8Array, at: number): number {
  if (bytes[at] !== SPACE) return 0;
  let status = 0;
  for (let i = 1; i <= 3; i++) {
    const digit = digitAt(bytes, at + i);
    if (digit < 0) return 0;
    status = 10 * status + digit;
  }
  return status >= 100 && status < 600 ? status : 0;
}

/** -1 if it is none. */
function digitAt(bytes: Uint8Array, at: number): number {
  const digit = (bytes[at] ?? 0) - ZERO;
  return digit >= 0 && digit <= 9 ? digit : -1;
}

const TO_THE_END: Framing = {kind: 'close'};

/** What a head says of its message's length, and of what comes after it. */
interface Declared {
  /** -1: nothing. */
  length: number;
  isChunked: boolean;
  isClose: boolean;
  isKeepAlive: boolean;
}

/** Undefined: something is said twice, in disguise, or in a way that has no meaning or several. */
function readDeclared(bytes: Buffer, lines: Lines): Declared | undefined {
  const found: Declared = {length: -1, isChunked: false, isClose: false, isKeepAlive: false};
  for (let at = 0; at < lines.length; at += 3) {
    const start = lines[at] ?? 0;
    const nameEnd = lines[at + 1] ?? 0;
    const lineEnd = lines[at + 2] ?? 0;
    switch (nameEnd - start) {
      case 10:
        if (isNamed(bytes, start, nameEnd, CONNECTION)) {
          readConnection(found, bytes, {nameEnd, lineEnd});
        }
        break;
      case 14:
        if (isNamed(bytes, start, nameEnd, CONTENT_LENGTH)) {
          if (found.length >= 0) return undefined;
          found.length = lengthOf(bytes, nameEnd, lineEnd);
          if (found.length < 0) return undefined;
        } else if (isDisguised(bytes, start, nameEnd)) return undefined;
        break;
      case 17:
        if (isNamed(bytes, start, nameEnd, TRANSFER_ENCODING)) {
          if (found.isChunked) return undefined;
          const from = startOfValue(bytes, nameEnd, lineEnd);
          if (!isNamed(bytes, from, endOfValue(bytes, from, lineEnd), CHUNKED)) return undefined;
          found.isChunked = true;
        } else if (isDisguised(bytes, start, nameEnd)) return undefined;
        break;
      case 15:
      case 18:
        if (isDisguised(bytes, start, nameEnd)) return undefined;
        break;
      default:
    }
  }
  return found;
}

/** What the Connection lines of a head say, in small letters. */
export function connectionOptions(bytes: Buffer, lines: Lines): string[] {
  const options: string[] = [];
  for (let at = 0; at < lines.length; at += 3) {
    const nameEnd = lines[at + 1] ?? 0;
    if (isNamed(bytes, lines[at] ?? 0, nameEnd, CONNECTION)) {
      options.push(...optionsOf(bytes, nameEnd, lines[at + 2] ?? 0));
    }
  }
  return options;
}

function optionsOf(bytes: Buffer, nameEnd: number, lineEnd: number): string[] {
  const options = textOfValue(bytes, nameEnd, lineEnd).split(',');
  return options.map((option) => option.trim().toLowerCase());
}

function readConnection(
  found: Declared,
  bytes: Buffer,
  {nameEnd, lineEnd}: {readonly nameEnd: number; readonly lineEnd: number},
): void {
  const start = startOfValue(bytes, nameEnd, lineEnd);
  const end = endOfValue(bytes, start, lineEnd);
  if (isNamed(bytes, start, end, KEEP_ALIVE)) found.isKeepAlive = true;
  else if (isNamed(bytes, start, end, CLOSE)) found.isClose = true;
  else {
    const options = optionsOf(bytes, nameEnd, lineEnd);
    found.isClose ||= options.includes('close');
    found.isKeepAlive ||= options.includes('keep-alive');
  }
}

/** The length that a line says; -1 if it is no number of bytes. */
function lengthOf(bytes: Uint8Array, nameEnd: number, lineEnd: number): number {
  const start = startOfValue(bytes, nameEnd, lineEnd);
  const end = endOfValue(bytes, start, lineEnd);
  if (end === start || end - start > LENGTH_DIGITS) return -1;
  let length = 0;
  for (let at = start; at < end; at++) {
    const digit = digitAt(bytes, at);
    if (digit < 0) return -1;
    length = 10 * length + digit;
  }
  return length;
}

function isDisguised(bytes: Buffer, start: number, nameEnd: number): boolean {
  const first = (bytes[start] ?? 0) | 0x20;
  // Most names begin with another letter, and need no string.
  if (first !== 0x63 && first !== 0x74) return false;
  return DISGUISED.test(bytes.toString('latin1', start, nameEnd));
}

/** RFC 9112, section 6.3, without everything that it allows to be repaired. */
function framingOf({length, isChunked}: Declared, minor: number): Framing | 'none' | undefined {
  if (isChunked) return length >= 0 || minor === 0 ? undefined : CHUNKS;
  if (length < 0) return 'none';
  return length === 0 ? NO_BODY : {kind: 'length', bytes: length};
}

const CHUNKS: Framing = {kind: 'chunked'};

function isLastOf(minor: number, {isClose, isKeepAlive}: Declared): boolean {
  return isClose || (minor === 0 && !isKeepAlive);
}
