/**
 * Tera's filters and tests, as far as they make sense on texts and numbers of a configuration.
 *
 * Left out: those on HTML and on dates, and the test `matching`, whose pattern could keep us busy for ever.
 */

/** A value of a template. */
export type Value = string | number | boolean | Value[] | {[name: string]: Value} | undefined;

/** The arguments of a filter, by name. */
export class Args {
  readonly #values: ReadonlyMap<string, Value>;

  constructor(values: ReadonlyMap<string, Value>) {
    this.#values = values;
  }

  /** A named argument, or the one at a position. */
  get(name: string, position = 0): Value {
    return this.#values.get(name) ?? this.#values.get(String(position));
  }

  text(name: string, position = 0): string {
    const value = this.get(name, position);
    if (typeof value !== 'string') throw new Error(`needs the argument ${name}, a text`);
    return value;
  }

  number(name: string, fallback?: number): number {
    const value = this.get(name) ?? fallback;
    if (typeof value !== 'number') throw new Error(`needs the argument ${name}, a number`);
    return value;
  }
}

type Filter = (value: Value, args: Args) => Value;

/** Longest text that a filter may make. */
const maxText = 1_000_000;

function text(value: Value): string {
  if (typeof value === 'string') return value;
  throw new Error('is for texts only');
}

function items(value: Value): Value[] {
  if (Array.isArray(value)) return value;
  throw new Error('is for lists only');
}

function number(value: Value): number {
  if (typeof value === 'number') return value;
  throw new Error('is for numbers only');
}

/** How a value is written into the text, as Tera does. */
export function show(value: Value): string {
  if (Array.isArray(value)) return `[${value.map(show).join(', ')}]`;
  return typeof value === 'object' ? '[object]' : String(value);
}

/** The text, unless it is too long: then throws an Error. */
export function bounded(result: string): string {
  if (result.length > maxText) throw new Error('makes too long a text');
  return result;
}

const rounding = {common: Math.round, ceil: Math.ceil, floor: Math.floor} as const;

function round(value: Value, args: Args): Value {
  const method = args.get('method') ?? 'common';
  if (method !== 'common' && method !== 'ceil' && method !== 'floor') {
    throw new Error('has the methods common, ceil and floor');
  }
  const factor = 10 ** Math.min(12, args.number('precision', 0));
  return rounding[method](number(value) * factor) / factor;
}

function slugify(value: Value): string {
  const plain = text(value).normalize('NFKD').replace(/\p{M}/gu, '').toLowerCase();
  return plain.replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, '');
}

function toInteger(value: Value, args: Args): Value {
  const whole =
    typeof value === 'number'
      ? Math.trunc(value)
      : Number.parseInt(text(value), args.number('base', 10));
  if (!Number.isNaN(whole)) return whole;
  const fallback = args.get('default');
  if (fallback === undefined) throw new Error(`can't read ${JSON.stringify(value)} as a number`);
  return fallback;
}

function toFloat(value: Value, args: Args): Value {
  const parsed = typeof value === 'number' ? value : Number.parseFloat(text(value));
  if (!Number.isNaN(parsed)) return parsed;
  const fallback = args.get('default');
  if (fallback === undefined) throw new Error(`can't read ${JSON.stringify(value)} as a number`);
  return fallback;
}

function truncate(value: Value, args: Args): string {
  const letters = [...text(value)];
  const length = args.number('length', 255);
  const end = args.get('end') === undefined ? '…' : args.text('end');
  return letters.length <= length ? letters.join('') : letters.slice(0, length).join('') + end;
}

function trimMatches(value: string, pattern: string, side: 'start' | 'end'): string {
  if (pattern === '') return value;
  let kept = value;
  while (side === 'start' ? kept.startsWith(pattern) : kept.endsWith(pattern)) {
    kept = side === 'start' ? kept.slice(pattern.length) : kept.slice(0, -pattern.length);
  }
  return kept;
}

const capitalize = (word: string): string =>
  word.slice(0, 1).toUpperCase() + word.slice(1).toLowerCase();

const lengthOf: Filter = (value) =>
  typeof value === 'string'
    ? [...value].length
    : typeof value === 'object'
      ? Object.keys(value).length
      : items(value).length;

/** The filters, by name. They throw an Error that says what they need. */
export const filters: ReadonlyMap<string, Filter> = new Map<string, Filter>([
  ['abs', (value) => Math.abs(number(value))],
  ['addslashes', (value) => text(value).replace(/[\\"']/g, '\\$&')],
  ['as_str', (value) => show(value)],
  ['capitalize', (value) => capitalize(text(value))],
  ['concat', (value, args) => [...items(value), args.get('with')].flat().slice(0, 10_000)],
  ['default', (value, args) => value ?? args.get('value')],
  ['first', (value) => items(value)[0] ?? ''],
  ['float', toFloat],
  [
    'get',
    (value, args) => {
      const name = args.text('key');
      const found =
        typeof value === 'object' && !Array.isArray(value) && Object.hasOwn(value, name);
      return found ? value[name] : args.get('default', 1);
    },
  ],
  ['int', toInteger],
  [
    'join',
    (value, args) =>
      bounded(
        items(value)
          .map(show)
          .join(args.get('sep') === undefined ? '' : args.text('sep')),
      ),
  ],
  [
    'json_encode',
    (value, args) =>
      JSON.stringify(value ?? null, undefined, args.get('pretty') === true ? 2 : undefined),
  ],
  ['last', (value) => items(value).at(-1) ?? ''],
  ['length', lengthOf],
  ['lower', (value) => text(value).toLowerCase()],
  ['nth', (value, args) => items(value)[args.number('n')] ?? ''],
  [
    'replace',
    (value, args) => {
      const [from, to] = [args.text('from'), args.text('to', 1)];
      return bounded(text(value).replaceAll(from, () => to));
    },
  ],
  [
    'reverse',
    (value) =>
      typeof value === 'string' ? [...value].reverse().join('') : items(value).toReversed(),
  ],
  ['round', round],
  ['safe', (value) => value],
  [
    'slice',
    (value, args) =>
      items(value).slice(
        args.number('start', 0),
        args.get('end') === undefined ? undefined : args.number('end'),
      ),
  ],
  ['slugify', slugify],
  [
    'sort',
    (value) =>
      items(value).toSorted((a, b) =>
        typeof a === 'number' && typeof b === 'number' ? a - b : show(a) < show(b) ? -1 : 1,
      ),
  ],
  ['split', (value, args) => text(value).split(args.text('pat')).slice(0, 10_000)],
  ['title', (value) => text(value).replace(/[\p{L}\p{N}']+/gu, capitalize)],
  ['trim', (value) => text(value).trim()],
  ['trim_end', (value) => text(value).trimEnd()],
  ['trim_end_matches', (value, args) => trimMatches(text(value), args.text('pat'), 'end')],
  ['trim_start', (value) => text(value).trimStart()],
  ['trim_start_matches', (value, args) => trimMatches(text(value), args.text('pat'), 'start')],
  ['truncate', truncate],
  ['unique', (value) => [...new Set(items(value))]],
  ['upper', (value) => text(value).toUpperCase()],
  ['urlencode', (value) => encodeURIComponent(text(value)).replaceAll('%2F', '/')],
  ['urlencode_strict', (value) => encodeURIComponent(text(value))],
  ['wordcount', (value) => text(value).split(/\s+/).filter(Boolean).length],
]);

type Test = (value: Value, args: Args) => boolean;

function contains(value: Value, wanted: Value): boolean {
  if (typeof value === 'string') return value.includes(text(wanted));
  if (Array.isArray(value)) return value.includes(wanted);
  return typeof value === 'object' && Object.hasOwn(value, show(wanted));
}

/** The tests after `is`, by name. */
export const tests: ReadonlyMap<string, Test> = new Map<string, Test>([
  ['containing', (value, args) => contains(value, args.get('pat'))],
  ['defined', (value) => value !== undefined],
  ['divisibleby', (value, args) => number(value) % args.number('divisor') === 0],
  ['ending_with', (value, args) => text(value).endsWith(args.text('pat'))],
  ['even', (value) => number(value) % 2 === 0],
  ['iterable', (value) => typeof value === 'object'],
  ['number', (value) => typeof value === 'number'],
  ['object', (value) => typeof value === 'object' && !Array.isArray(value)],
  ['odd', (value) => number(value) % 2 !== 0],
  ['starting_with', (value, args) => text(value).startsWith(args.text('pat'))],
  ['string', (value) => typeof value === 'string'],
  ['undefined', (value) => value === undefined],
]);

/** Whether a list, a map or a text has something in it, for `in`. */
export {contains};
