/**
 * Regular expressions whose time is bounded by the length of what they look at.
 *
 * People's patterns meet strangers' requests, on the one thread that serves everybody. So a pattern runs here only
 * on an engine that never backtracks (RE2's algorithm). What that engine does not know (look-around,
 * back references, counts above 1000) goes to the worker, where time can be limited from outside.
 *
 * The engine is slow beside V8's, and most texts are of others: what a pattern begins with is looked for first, where
 * that is plain text (ten times as fast for a browser's headers).
 */

import {RE2JS} from 're2js';
import type {HttpPattern} from '../../../../tunnel/http-filter.ts';

const FLAGS: Readonly<Record<string, number>> = {
  i: RE2JS.CASE_INSENSITIVE,
  m: RE2JS.MULTILINE,
  s: RE2JS.DOTALL,
};

/** Returns what says whether the pattern is somewhere in a text; undefined if it takes backtracking. */
export function compileLinear({
  source,
  flags,
}: HttpPattern): ((text: string) => boolean) | undefined {
  try {
    const bits = [...flags].reduce((sum, flag) => sum | (FLAGS[flag] ?? 0), 0);
    const compiled = RE2JS.compile(RE2JS.translateRegExp(source), bits);
    const needed = plainBeginning(source);
    if (needed === '') return (text) => compiled.test(text);
    if (!flags.includes('i')) return (text) => text.includes(needed) && compiled.test(text);
    const small = needed.toLowerCase();
    return (text) => text.toLowerCase().includes(small) && compiled.test(text);
  } catch {
    return undefined;
  }
}

/** What is, in letters of some case, in every text that fits; in small letters, '' if that is not sure. */
export function neededText({source}: HttpPattern): string {
  return plainBeginning(source).toLowerCase();
}

/** Plain ASCII, at the beginning, behind which comes no quantifier that would take its last character back. */
const PLAIN = /^\^?([\w \-:=/;,@%&]+)(?![*?{])/;

/** What is in every text that fits, because the pattern begins with it; '' if that is not sure. */
function plainBeginning(source: string): string {
  // Of alternatives another one may fit.
  return source.includes('|') ? '' : (PLAIN.exec(source)?.[1] ?? '');
}
