/**
 * Paths of keys: `feature.network.dns.filter.local[0]`.
 */

/** Where a value is: names of keys and indices of arrays, from the root. */
export type Path = readonly (string | number)[];

/** Longest piece of a person's text that a message repeats. */
const maxQuoted = 60;

/** Quotes a piece of the configuration for a message, cut where it is too long to read. */
export function quote(text: string): string {
  return JSON.stringify(text.length > maxQuoted ? `${text.slice(0, maxQuoted)}…` : text);
}

/** Writes a path; names that aren't plain words are quoted. The root is the empty text. */
export function formatPath(path: Path): string {
  let text = '';
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`;
    else if (!/^[\w-]{1,80}$/.test(step)) text += `[${quote(step)}]`;
    else text += text === '' ? step : `.${step}`;
  }
  return text;
}

/** Reads a path of names only, as the schema and the flags have it. */
export function parsePath(text: string): string[] {
  return text.split('.');
}
