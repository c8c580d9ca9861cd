/**
 * The published JSON Schema (draft 2020-12), made from the schema: for editors and other checkers.
 */

import {root} from './schema/root.ts';
import type {Key, Keys, Node} from './schema/types.ts';

type Json = Record<string, unknown>;

const nothing = {type: 'null'};

/** Collects named nodes, so that each is there once. */
class Writer {
  readonly definitions: Record<string, Json> = {};

  write(node: Node): Json {
    const {title} = node;
    if (title === undefined) return this.#bare(node);
    if (this.definitions[title] === undefined) {
      this.definitions[title] = {}; // so that a node inside itself would find it
      this.definitions[title] = this.#bare(node);
    }
    return {$ref: `#/$defs/${title}`};
  }

  #bare(node: Node): Json {
    switch (node.kind) {
      case 'any':
        return {};
      case 'string':
      case 'boolean':
        return {type: node.kind};
      case 'integer':
        return {
          type: 'integer',
          minimum: node.min,
          ...(node.max !== Number.MAX_SAFE_INTEGER && {maximum: node.max}),
        };
      case 'values':
        return node.values.length === 1 ? {const: node.values[0]} : {enum: node.values};
      case 'list': {
        const item = this.write(node.item);
        return {anyOf: [item, {type: 'array', items: item}]};
      }
      case 'array':
        return {
          type: 'array',
          items: this.write(node.item),
          ...(node.length !== undefined && {minItems: node.length, maxItems: node.length}),
        };
      case 'map':
        return {type: 'object', additionalProperties: this.#optional(this.write(node.value))};
      case 'object': {
        const object = this.#object(node.keys);
        const others = (node.shorthand?.accepts ?? []).map((one) => this.write(one));
        return others.length === 0 ? object : {anyOf: [...others, object]};
      }
      case 'tagged':
        return {anyOf: Object.values(node.variants).map((one) => this.write(one))};
      case 'choice':
        return {anyOf: node.of.map((one) => this.write(one))};
    }
  }

  #optional(schema: Json): Json {
    return Object.keys(schema).length === 0 ? schema : {anyOf: [schema, nothing]};
  }

  #key({type, description, info}: Key): Json {
    const schema = this.write(type);
    const value = info.required === true ? schema : this.#optional(schema);
    return {
      description,
      ...(info.default !== undefined && {default: info.default}),
      ...(info.deprecated !== undefined && {deprecated: true}),
      ...value,
    };
  }

  #object(keys: Keys): Json {
    const entries = Object.entries(keys);
    const required = entries.filter(([, key]) => key.info.required === true).map(([name]) => name);
    return {
      type: 'object',
      properties: Object.fromEntries(entries.map(([name, key]) => [name, this.#key(key)])),
      ...(required.length > 0 && {required}),
      additionalProperties: false,
    };
  }
}

/** The JSON Schema of a configuration file. */
export function jsonSchema(): Json {
  const writer = new Writer();
  const schema = writer.write(root);
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'mirrord configuration',
    ...schema,
    $defs: writer.definitions,
  };
}

/** The JSON Schema as text, as it is published. */
export function jsonSchemaText(): string {
  return `${JSON.stringify(jsonSchema(), undefined, 2)}\n`;
}
