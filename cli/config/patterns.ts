/**
 * Regular expressions and JSONPaths of a configuration, written for Rust's libraries and used in ours.
 */

/** Longest pattern: what people write has some hundred letters. */
const maxPattern = 5000;

/**
 * Compiles a regular expression in Rust's syntax: `(?i)` and the like at the beginning, `(?P<name>…)`, `\A`,
 * `\z`, `\h` and POSIX classes are put in JavaScript's words. Throws SyntaxError for what has none.
 */
export function compilePattern(pattern: string, flags = ''): RegExp {
  if (pattern.length > maxPattern) throw new SyntaxError('it is too long');
  const [, leading = '', rest = ''] = /^(?:\(\?([imsu]+)\))?(.*)$/s.exec(pattern) ?? [];
  const source = rest
    .replaceAll('(?P<', '(?<')
    .replace(/\\[AzhR]/g, (sign) => ({'\\A': '^', '\\z': '$', '\\h': '[0-9A-Fa-f]'})[sign] ?? sign)
    .replaceAll('[:alpha:]', 'a-zA-Z')
    .replaceAll('[:digit:]', '0-9')
    .replaceAll('[:alnum:]', 'a-zA-Z0-9')
    .replaceAll('[:space:]', '\\s');
  const all = new Set([...flags, ...leading.replace('u', '')]);
  return new RegExp(source, [...all].join(''));
}

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
  if (path.length > maxPattern) return 'it is too long';
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
