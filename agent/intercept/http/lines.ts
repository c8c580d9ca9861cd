/**
 * The header lines of an HTTP/1 head, by their places: most are only passed on, and cost no string. Sans-IO.
 */

import {IS_TOKEN} from './detect.ts';

const CR = 0x0d;
const LF = 0x0a;
const COLON = 0x3a;
const TAB = 0x09;
const SPACE = 0x20;
const DEL = 0x7f;
/** Makes a small letter of a capital one; no other byte of a token becomes a letter or a hyphen by it. */
const SMALL = 0x20;

/** Bytes for which it is true can't be in a line; a tab can. */
export function isControl(byte: number): boolean {
  return byte < SPACE ? byte !== TAB : byte === DEL;
}

/** Three numbers for each line: where it begins, where its name ends, and where the line ends, before its CRLF. */
export type Lines = readonly number[];

/**
 * Reads the lines from a place on, up to the empty line, with which the bytes end. Returns undefined for a control
 * character, and where a line does not begin with a token and a colon: so also for a folded line.
 */
export function readLines(bytes: Uint8Array, from: number): Lines | undefined {
  const lines: number[] = [];
  const end = bytes.length - 2;
  let at = from;
  while (at < end) {
    const start = at;
    while (at < end && IS_TOKEN[bytes[at] ?? 0]) at++;
    if (at === start || bytes[at] !== COLON) return undefined;
    lines.push(start, at);
    while (at < end && !isControl(bytes[at] ?? 0)) at++;
    if (bytes[at] !== CR || bytes[at + 1] !== LF) return undefined;
    lines.push(at);
    at += 2;
  }
  return at === end && bytes[at] === CR && bytes[at + 1] === LF ? lines : undefined;
}

/** A name in small letters, to compare with. */
export function nameBytes(name: string): Uint8Array {
  return Buffer.from(name.toLowerCase(), 'latin1');
}

/** Whether the token from `start` to `end` is this name, in letters of any case. */
export function isNamed(bytes: Uint8Array, start: number, end: number, name: Uint8Array): boolean {
  if (end - start !== name.length) return false;
  for (let at = 0; at < name.length; at++) {
    if (((bytes[start + at] ?? 0) | SMALL) !== name[at]) return false;
  }
  return true;
}

/** Where the value of a line begins, behind blanks. Only blank and tab are that: `trim` would take more. */
export function startOfValue(bytes: Uint8Array, nameEnd: number, lineEnd: number): number {
  let start = nameEnd + 1;
  while (start < lineEnd && isBlank(bytes[start])) start++;
  return start;
}

/** Where a value ends, without the blanks behind it. */
export function endOfValue(bytes: Uint8Array, start: number, lineEnd: number): number {
  let end = lineEnd;
  while (end > start && isBlank(bytes[end - 1])) end--;
  return end;
}

/** What is behind a name's colon, without white space around it. */
export function textOfValue(bytes: Buffer, nameEnd: number, lineEnd: number): string {
  const start = startOfValue(bytes, nameEnd, lineEnd);
  return bytes.toString('latin1', start, endOfValue(bytes, start, lineEnd));
}

/** The lines of a head as filters see them: "Name: value". */
export function headersOf(bytes: Buffer, lines: Lines): string[] {
  const headers: string[] = [];
  // One string of all is cheaper than one for each.
  const text = bytes.toString('latin1');
  for (let at = 0; at < lines.length; at += 3) {
    const start = lines[at] ?? 0;
    const nameEnd = lines[at + 1] ?? 0;
    const end = lines[at + 2] ?? 0;
    if (isPlain(bytes, nameEnd, end)) headers.push(text.slice(start, end));
    else headers.push(`${text.slice(start, nameEnd)}: ${textOfValue(bytes, nameEnd, end)}`);
  }
  return headers;
}

/** Whether every line is written as filters see it. */
export function arePlain(bytes: Uint8Array, lines: Lines): boolean {
  for (let at = 0; at < lines.length; at += 3) {
    if (!isPlain(bytes, lines[at + 1] ?? 0, lines[at + 2] ?? 0)) return false;
  }
  return true;
}

/** Whether there is one blank before the value, and none behind it. */
function isPlain(bytes: Uint8Array, nameEnd: number, lineEnd: number): boolean {
  if (lineEnd < nameEnd + 3 || bytes[nameEnd + 1] !== SPACE) return false;
  return !isBlank(bytes[nameEnd + 2]) && !isBlank(bytes[lineEnd - 1]);
}

function isBlank(byte: number | undefined): boolean {
  return byte === SPACE || byte === TAB;
}
