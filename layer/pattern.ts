/**
 * Regular expressions of a configuration, written for Rust's library and used in ours. Pure.
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
