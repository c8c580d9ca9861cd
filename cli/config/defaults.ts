/**
 * Fills a checked configuration up with defaults.
 */

import type {Keys, Node} from './schema/types.ts';
import {isRecord, pick, variantOf} from './schema/walk.ts';

function fillKeys(keys: Keys, value: Record<string, unknown>): Record<string, unknown> {
  const filled: Record<string, unknown> = {};
  for (const [name, {type, info}] of Object.entries(keys)) {
    const given = value[name] ?? structuredClone(info.default);
    if (given !== undefined) filled[name] = fill(type, given);
  }
  return filled;
}

/** A value in its one form (as `check` makes it) with all defaults of its keys; keys come in schema order. */
export function fill(node: Node, value: unknown): unknown {
  switch (node.kind) {
    case 'object':
      return isRecord(value) ? fillKeys(node.keys, value) : value;
    case 'tagged': {
      const variant = isRecord(value) ? variantOf(node, value) : undefined;
      return variant === undefined ? value : fill(variant, value);
    }
    case 'choice': {
      const picked = pick(node.of, value);
      return picked === undefined ? value : fill(picked, value);
    }
    case 'map':
      return isRecord(value)
        ? Object.fromEntries(
            Object.entries(value).map(([name, inner]) => [name, fill(node.value, inner)]),
          )
        : value;
    case 'list':
    case 'array':
      return Array.isArray(value) ? value.map((item) => fill(node.item, item)) : value;
    default:
      return value;
  }
}
