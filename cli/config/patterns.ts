/**
 * Why regular expressions and JSONPaths of a configuration can't be used.
 */

import {compilePattern} from '../../layer/pattern.ts';

/** Why a regular expression can't be used; undefined if it can. */
export function patternProblem(pattern: string): string | undefined {
  try {
    compilePattern(pattern);
    return undefined;
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return message.replace(/^Invalid regular expression: .*: /s, '');
  }
}

/** Longest path: what people write has some hundred letters. */
const maxPath = 5000;

const segment =
  /\.\.?(?:\*|[A-Za-z_\u0080-\uffff][\w\u0080-\uffff-]*)|(?:\.\.)?\[(?:[^[\]'"]|'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")*\]/y;

/** Takes the innermost brackets out of a filter selector, so that `[?(@.a[0] == 1)]` is one segment. */
function flatten(path: string): string {
  let flat = path;
  for (let depth = 0; depth < 10; depth++) {
    const next = flat.replace(/(\[\?(?:[^[\]'"]|'[^']*'|"[^"]*")*)\[[^[\]]*\]/g, '$1');
    if (next === flat) break;
    flat = next;
  }
  return flat;
}

/** Why a text is no JSONPath (RFC 9535, section 2.1.1); undefined if it looks like one. */
export function jsonPathProblem(path: string): string | undefined {
  if (path.length > maxPath) return 'it is too long';
  if (!path.startsWith('$')) return 'it does not begin with $';
  const flat = flatten(path);
  for (let at = 1; at < flat.length; ) {
    segment.lastIndex = at;
    const found = segment.exec(flat);
    if (found === null) return `${JSON.stringify(flat.slice(at, at + 20))} is no step of a path`;
    if (/^(?:\.\.)?\[\s*\]$/.test(found[0])) return 'there is nothing in []';
    at = segment.lastIndex;
  }
  return undefined;
}
