/**
 * The language that the schema is written in: plain data, so that everything else is a walk over it.
 *
 * Theory of operation. A *node* says what a value may be; a *key* is a node with what is told about it (one
 * line of description, default, environment variables, status). The builders below carry the TypeScript type
 * of the resolved value along, so that `ResolvedConfig` is inferred. From the same tree come the check of a
 * file (`check.ts`), the defaults (`defaults.ts`), the environment's overlay (`overlay.ts`), what isn't
 * available yet (`availability.ts`), the JSON Schema (`json-schema.ts`) and the reference page.
 *
 * Every key may be `null` in a file, which is the same as leaving it out, as in mirrord.
 */

/** Whether a key does something today, will do it later, or has no meaning in this mirrord. */
export type Status = 'available' | 'later' | 'no-effect-here';

/** A variable that sets a key: by name, or with words of its own for the key's values. */
export type EnvVariable =
  | string
  | {
      name: string;
      /** What the variable's values mean, where they aren't the key's own. */
      values?: Readonly<Record<string, unknown>>;
      /** Counts only when the file leaves the key's parent out (the agent image's parts). */
      weak?: true;
    };

/** What is told about a key besides its type. Status and `instead` are inherited by the keys inside. */
export interface KeyInfo {
  env?: EnvVariable | readonly EnvVariable[];
  status?: Status;
  /** What happens today instead, as the end of a sentence; of keys without effect, if not for want of a preloaded library. */
  instead?: string;
  /** The value that describes what happens today: using it needs no word. */
  now?: unknown;
  /** What to use instead of a deprecated key, or why it is one. */
  deprecated?: string;
  /** Marks a key that may still change its shape. */
  unstable?: true;
  /** The default in words, where it depends on something. */
  effective?: string;
  default?: unknown;
  required?: true;
}

declare const phantom: unique symbol;
declare const present: unique symbol;

/** A node whose resolved value is a `Value`. */
export type Typed<Value> = Node & {readonly [phantom]?: Value};

/** A key of an object. `Present`: there is always a value, by default or because it is required. */
export interface Key<Value = unknown, Present extends boolean = boolean> {
  readonly type: Typed<Value>;
  readonly description: string;
  readonly info: KeyInfo;
  readonly [present]?: Present;
}

/** The keys of an object, by name. */
export type Keys = Readonly<Record<string, Key>>;

/** Values that stand for an object: how they look, and the object they mean. */
export interface Shorthand {
  accepts: readonly Node[];
  /** The object a shorthand stands for; undefined when the value is none. */
  expand(value: unknown): Record<string, unknown> | undefined;
}

/** What a value may be. `title` names a node that several keys share. */
export type Node = (
  | {kind: 'string'}
  | {kind: 'boolean'}
  | {kind: 'any'}
  | {kind: 'integer'; min: number; max: number}
  | {kind: 'values'; values: readonly string[]}
  | {kind: 'list'; item: Node; split: boolean}
  | {kind: 'array'; item: Node; length?: number}
  | {kind: 'map'; value: Node}
  | {kind: 'object'; keys: Keys; shorthand?: Shorthand}
  | {kind: 'tagged'; tag: string; variants: Readonly<Record<string, Node>>; fallback?: string}
  | {kind: 'choice'; of: readonly Node[]}
) & {title?: string};

/** The resolved type of a node. */
export type ValueOf<N> = N extends {readonly [phantom]?: infer V} ? V : never;

type PresentNames<K> = {[P in keyof K]: K[P] extends Key<unknown, true> ? P : never}[keyof K];

/** The resolved type of an object with these keys. */
export type ObjectOf<K extends Keys> = {
  [P in PresentNames<K>]: K[P] extends Key<infer V> ? V : never;
} & {
  [P in Exclude<keyof K, PresentNames<K>>]?: K[P] extends Key<infer V> ? V : never;
};

/** Makes a key that always has a value: it has a default, or is required. */
export function key<V>(
  type: Typed<V>,
  description: string,
  info: KeyInfo & ({default: unknown} | {required: true}),
): Key<V, true>;
/** Makes a key that may stay unset. */
export function key<V>(type: Typed<V>, description: string, info?: KeyInfo): Key<V, false>;
export function key<V>(type: Typed<V>, description: string, info: KeyInfo = {}): Key<V> {
  return {type, description, info};
}

/** Makes the key of an object that is always there, filled with the defaults of its own keys. */
export function section<V>(type: Typed<V>, description: string, info: KeyInfo = {}): Key<V, true> {
  return {type, description, info: {default: {}, ...info}};
}

/** Makes the key that tells the variants of a tagged object apart. */
export function tag<const T extends string>(
  name: T,
  about: string,
  info: KeyInfo = {required: true},
) {
  return key(values(name), about, {required: true, ...info}) as Key<T, true>;
}

/** Any text. */
export const string = (): Typed<string> => ({kind: 'string'});
/** true or false. */
export const boolean = (): Typed<boolean> => ({kind: 'boolean'});
/** Any value, unchecked. */
export const anything = (): Typed<unknown> => ({kind: 'any'});

/** A whole number within limits; by default any that is not negative and fits a double. */
export function integer(min = 0, max: number = Number.MAX_SAFE_INTEGER): Typed<number> {
  return {kind: 'integer', min, max};
}

/** A port number. */
export const port = (): Typed<number> => integer(0, 65_535);

/** One of some words. */
export function values<const T extends string>(...of: readonly T[]): Typed<T> {
  return {kind: 'values', values: of};
}

/** One value or an array of them. `split`: a string in a file is split at `;`, as in the environment. */
export function list<V>(item: Typed<V>, options: {split?: boolean} = {}): Typed<V[]> {
  return {kind: 'list', item, split: options.split === true};
}

/** An array. `length`: of exactly so many. */
export function array<V>(item: Typed<V>, length?: number): Typed<V[]> {
  return {kind: 'array', item, ...(length !== undefined && {length})};
}

/** An object with any names. */
export function map<V>(value: Typed<V>): Typed<Record<string, V>> {
  return {kind: 'map', value};
}

/** An object with known names only. */
export function object<K extends Keys>(keys: K, shorthand?: Shorthand): Typed<ObjectOf<K>> {
  return {kind: 'object', keys, ...(shorthand !== undefined && {shorthand})};
}

/** Objects told apart by the value of one key; without it, the fallback. */
export function tagged<V extends Readonly<Record<string, Typed<unknown>>>>(
  tagKey: string,
  variants: V,
  fallback?: keyof V & string,
): Typed<ValueOf<V[keyof V]>> {
  return {kind: 'tagged', tag: tagKey, variants, ...(fallback !== undefined && {fallback})};
}

/** Values of different shapes, told apart by looking at them. */
export function choice<const N extends readonly Typed<unknown>[]>(
  ...of: N
): Typed<ValueOf<N[number]>> {
  return {kind: 'choice', of};
}

/** Names a node that is used in several places; the JSON Schema and the reference tell it once. */
export function named<T extends Node>(title: string, node: T): T {
  return {...node, title};
}

/** The shorthand of a block that `true` leaves at its defaults and `false` turns off. */
export function toggle(off: Readonly<Record<string, unknown>>, mode?: Node): Shorthand {
  return {
    accepts: mode === undefined ? [boolean()] : [boolean(), mode],
    expand: (value) => {
      if (value === true) return {};
      if (value === false) return structuredClone(off);
      return typeof value === 'string' && mode !== undefined ? {mode: value} : undefined;
    },
  };
}
