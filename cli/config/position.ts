/**
 * Where a key is in its file, as line and column from 1.
 */

import {isMap, isScalar, isSeq, LineCounter, type Node, parseDocument, visit} from 'yaml';
import type {Path} from './path.ts';
import {scanToml} from './toml-positions.ts';

/** A place in a text, counted from 1. */
export interface Position {
  line: number;
  column: number;
}

/** The languages of configuration files. */
export type Format = 'json' | 'toml' | 'yaml';

/** The place of an offset. */
export function positionAt(text: string, offset: number): Position {
  const before = text.slice(0, offset);
  return {line: before.split('\n').length, column: offset - before.lastIndexOf('\n')};
}

/** A key that occurs twice in one object; JSON.parse would take the last without a word. */
export interface Duplicate extends Position {
  message: string;
}

/** Finds keys in one text. */
export interface Positions {
  /** The place of a key, or of the innermost object around it that is there. */
  find(path: Path): Position | undefined;
  duplicates: readonly Duplicate[];
}

/** How YAML is read. The library's own search for duplicate keys takes quadratic time. */
export const yamlOptions = {merge: false, uniqueKeys: false, logLevel: 'silent'} as const;

// JSON is all but a part of YAML 1.2, so one parser with positions serves both.
function yamlPositions(text: string): Positions {
  const lines = new LineCounter();
  const document = parseDocument(text, {...yamlOptions, lineCounter: lines});
  const at = (offset: number): Position => {
    const {line, col} = lines.linePos(offset);
    return {line, column: col};
  };
  const find = (path: Path): Position | undefined => {
    let node: unknown = document.contents;
    let found = (document.contents as Node | null)?.range?.[0];
    for (const step of path) {
      if (isMap(node)) {
        const pair = node.items.find(
          ({key}) => isScalar(key) && String(key.value) === String(step),
        );
        if (pair === undefined) break;
        found = (pair.key as Node).range?.[0] ?? found;
        node = pair.value;
      } else if (isSeq(node)) {
        const item: unknown = node.items[Number(step)];
        if (item === undefined) break;
        found = (item as Node).range?.[0] ?? found;
        node = item;
      } else break;
    }
    return found === undefined ? undefined : at(found);
  };
  const duplicates: Duplicate[] = [];
  visit(document, {
    Map: (_, {items}) => {
      const names = new Set<string>();
      for (const {key} of items) {
        if (!isScalar(key)) continue;
        const name = String(key.value);
        if (names.has(name))
          duplicates.push({...at(key.range?.[0] ?? 0), message: 'a key is there twice'});
        names.add(name);
      }
    },
  });
  return {find, duplicates};
}

function tomlPositions(text: string): Positions {
  const offsets = scanToml(text);
  const find = (path: Path): Position | undefined => {
    for (let length = path.length; length > 0; length--) {
      const offset = offsets.get(JSON.stringify(path.slice(0, length)));
      if (offset !== undefined) return positionAt(text, offset);
    }
    return undefined;
  };
  return {find, duplicates: []};
}

/** Finds the places of keys in a text that parses; where it is too deep for that, finds none. */
export function positionsIn(text: string, format: Format): Positions {
  try {
    return format === 'toml' ? tomlPositions(text) : yamlPositions(text);
  } catch (error) {
    // Very deep nesting exhausts the stack; the check tells about the nesting, without a place.
    if (error instanceof RangeError) return {find: () => undefined, duplicates: []};
    throw error;
  }
}
