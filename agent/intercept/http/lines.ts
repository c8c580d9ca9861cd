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

/** Bytes for which `isControl` is true can't be in a line; a tab can. */
function isControl(byte: number): boolean {
  return byte < SPACE ? byte !== TAB : byte === DEL;
}

/** Where the first line ends, which has no control characters; -1 if it has. */
export function endOfFirstLine(bytes: Uint8Array): number {
  let at = 0;
  while (at < bytes.length && !isControl(bytes[at] ?? 0)) at++;
  return bytes[at] === CR && bytes[at + 1] === LF ? at : -1;
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
    while (IS_TOKEN[bytes[at] ?? 0]) at++;
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

/** What is behind a name's colon, without white space around it. Only blank and tab are that: `trim` would take more. */
export function textOfValue(bytes: Buffer, nameEnd: number, lineEnd: number): string {
  let start = nameEnd + 1;
  let end = lineEnd;
  while (start < end && isBlank(bytes[start])) start++;
  while (end > start && isBlank(bytes[end - 1])) end--;
  return bytes.toString('latin1', start, end);
}

function isBlank(byte: number | undefined): boolean {
  return byte === SPACE || byte === TAB;
}
