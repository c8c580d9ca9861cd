/**
 * Which HTTP requests a client wants, as it crosses the tunnel: plain data, a parameter of a call.
 *
 * Patterns have been put in JavaScript's words by the layer, from what the person wrote for Rust's library; jq
 * programs and JSONPaths cross as they were written. A filter is checked for shape and size here;
 * whether its patterns compile, the agent finds out.
 */

/** A regular expression of JavaScript, of the flags `i`, `m` and `s`. */
export interface HttpPattern {
  readonly source: string;
  readonly flags: string;
}

/** One condition on a request. */
export type HttpCondition =
  /** Some header, as "Name: value", fits. */
  | {readonly kind: 'header'; readonly pattern: HttpPattern}
  /** The path fits, alone or with its query. */
  | {readonly kind: 'path'; readonly pattern: HttpPattern}
  /** The method is this one, in any case of letters. */
  | {readonly kind: 'method'; readonly method: string}
  /** Of the values that a JSONPath (RFC 9535) finds in the body, one fits, as text. */
  | {readonly kind: 'body'; readonly query: string; readonly pattern: HttpPattern}
  /** A jq program says true of some header, as "Name: value". */
  | {readonly kind: 'jq'; readonly program: string};

/** What a client wants: requests that fit all conditions, or any of them. A single one is either. */
export interface HttpFilter {
  readonly join: 'all' | 'any';
  /** At least one. */
  readonly conditions: readonly HttpCondition[];
}

/** Conditions of a filter: people write a handful. */
export const MAX_CONDITIONS = 64;
/** Characters of one pattern, program or path. */
export const MAX_TEXT = 5000;
/** Characters of all of them together: a filter fits the body that opens a call. */
export const MAX_FILTER_TEXT = 20_000;

/** Returns the filter that `value` is, with nothing else in it; undefined if it is none. */
export function parseHttpFilter(value: unknown): HttpFilter | undefined {
  const {join, conditions} = fieldsOf(value);
  if ((join !== 'all' && join !== 'any') || !Array.isArray(conditions)) return undefined;
  if (conditions.length === 0 || conditions.length > MAX_CONDITIONS) return undefined;
  const parsed = conditions.map(parseCondition).filter((condition) => condition !== undefined);
  if (parsed.length < conditions.length) return undefined;
  const characters = parsed.reduce((sum, condition) => sum + textOf(condition), 0);
  return characters > MAX_FILTER_TEXT ? undefined : {join, conditions: parsed};
}

function parseCondition(value: unknown): HttpCondition | undefined {
  const fields = fieldsOf(value);
  const {kind, method, query, program} = fields;
  const pattern = parsePattern(fields['pattern']);
  if ((kind === 'header' || kind === 'path') && pattern !== undefined) return {kind, pattern};
  if (kind === 'method' && isText(method)) return {kind, method};
  if (kind === 'body' && isText(query) && pattern !== undefined) return {kind, query, pattern};
  if (kind === 'jq' && isText(program)) return {kind, program};
  return undefined;
}

function parsePattern(value: unknown): HttpPattern | undefined {
  const {source, flags} = fieldsOf(value);
  if (!isText(source) || typeof flags !== 'string') return undefined;
  if (!/^[ims]{0,3}$/.test(flags) || new Set(flags).size !== flags.length) return undefined;
  return {source, flags};
}

function fieldsOf(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? {...value} : {};
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= MAX_TEXT;
}

function textOf(condition: HttpCondition): number {
  switch (condition.kind) {
    case 'method':
      return condition.method.length;
    case 'jq':
      return condition.program.length;
    case 'body':
      return condition.query.length + condition.pattern.source.length;
    default:
      return condition.pattern.source.length;
  }
}
