/**
 * Offsets of keys in TOML, which its parser doesn't tell. The text has been parsed, so it is known to be
 * valid, and what is skipped here needs no judgement: TOML v1.0.0, "Key/Value Pair", "Table", "Array of Tables".
 */

/** Where each key begins, by its path as JSON. */
class Scanner {
  readonly offsets = new Map<string, number>();
  readonly #text: string;
  #at = 0;
  /** How many tables each array of tables has so far, by path as JSON. */
  readonly #tables = new Map<string, number>();

  constructor(text: string) {
    this.#text = text;
  }

  scan(): void {
    let table: (string | number)[] = [];
    for (this.#blank(); this.#at < this.#text.length; this.#blank()) {
      const before = this.#at;
      if (this.#peek('[')) table = this.#header();
      else this.#pair(table);
      if (this.#at === before) this.#at++;
    }
  }

  #peek(text: string): boolean {
    return this.#text.startsWith(text, this.#at);
  }

  /** Skips spaces, line ends, commas and comments. */
  #blank(): void {
    for (;;) {
      const rest = /[\s,]*/y;
      rest.lastIndex = this.#at;
      this.#at += rest.exec(this.#text)?.[0].length ?? 0;
      if (!this.#peek('#')) return;
      const end = this.#text.indexOf('\n', this.#at);
      this.#at = end === -1 ? this.#text.length : end;
    }
  }

  /** Reads `a."b.c".d` up to the sign after it. */
  #key(): string[] {
    const names: string[] = [];
    const part = /[ \t]*(?:"((?:[^"\\\n]|\\.)*)"|'([^'\n]*)'|([\w-]+))[ \t]*\.?/y;
    for (;;) {
      part.lastIndex = this.#at;
      const found = part.exec(this.#text);
      if (found === null) return names;
      this.#at += found[0].length;
      names.push(found[1] ?? found[2] ?? found[3] ?? '');
      if (!found[0].endsWith('.')) return names;
    }
  }

  #note(path: readonly (string | number)[], offset: number): void {
    const name = JSON.stringify(path);
    if (!this.offsets.has(name)) this.offsets.set(name, offset);
  }

  /** Names on a dotted path that are arrays of tables mean the last table so far. */
  #resolve(names: readonly string[]): (string | number)[] {
    const path: (string | number)[] = [];
    for (const name of names) {
      path.push(name);
      const count = this.#tables.get(JSON.stringify(path));
      if (count !== undefined) path.push(count - 1);
    }
    return path;
  }

  #header(): (string | number)[] {
    const isArray = this.#peek('[[');
    const start = this.#at;
    this.#at += isArray ? 2 : 1;
    const names = this.#key();
    this.#at += isArray ? 2 : 1;
    const path = this.#resolve(names.slice(0, -1));
    const last = names.at(-1);
    if (last === undefined) return path;
    path.push(last);
    for (let length = 1; length <= path.length; length++) this.#note(path.slice(0, length), start);
    if (!isArray) return this.#resolve(names);
    const array = JSON.stringify(path);
    const index = this.#tables.get(array) ?? 0;
    this.#tables.set(array, index + 1);
    this.#note([...path, index], start);
    return [...path, index];
  }

  #pair(table: readonly (string | number)[]): void {
    const start = this.#at;
    const names = this.#key();
    if (names.length === 0) return;
    const path = [...table, ...names];
    for (let length = table.length + 1; length <= path.length; length++) {
      this.#note(path.slice(0, length), start);
    }
    if (!this.#peek('=')) return;
    this.#at++;
    this.#value(path);
  }

  #value(path: readonly (string | number)[]): void {
    this.#blank();
    if (this.#peek('{')) {
      this.#at++;
      for (this.#blank(); this.#at < this.#text.length && !this.#peek('}'); this.#blank()) {
        const before = this.#at;
        this.#pair(path);
        if (this.#at === before) return;
      }
      this.#at++;
    } else if (this.#peek('[')) {
      this.#at++;
      this.#blank();
      for (let index = 0; this.#at < this.#text.length && !this.#peek(']'); index++) {
        const item = [...path, index];
        this.#note(item, this.#at);
        this.#value(item);
        this.#blank();
      }
      this.#at++;
    } else this.#scalar();
  }

  #scalar(): void {
    const scalar =
      /"""(?:[^\\]|\\[\s\S])*?"{3,5}|'''[\s\S]*?'{3,5}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[^\s,\]}#]+/y;
    scalar.lastIndex = this.#at;
    this.#at += scalar.exec(this.#text)?.[0].length ?? 1;
  }
}

/** The offset of each key, by its path as JSON. */
export function scanToml(text: string): ReadonlyMap<string, number> {
  const scanner = new Scanner(text);
  scanner.scan();
  return scanner.offsets;
}
