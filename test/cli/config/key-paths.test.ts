import {readFileSync} from 'node:fs';
import test from 'ava';
import {root} from '../../../cli/config/schema/root.ts';
import type {Node} from '../../../cli/config/schema/types.ts';
import {objectsOf} from '../../../cli/config/schema/walk.ts';

/** The paths and types that mirrord 3.250.0 knows: `a.b[].c{tag=value}.<key>.d`, a tab, the type. */
const lines = readFileSync(new URL('key-paths.txt', import.meta.url), 'utf8')
  .trim()
  .split('\n');

function flat(node: Node): Node[] {
  if (node.kind === 'choice') return node.of.flatMap(flat);
  if (node.kind === 'object') return [node, ...(node.shorthand?.accepts ?? []).flatMap(flat)];
  return [node];
}

/** The nodes that one step of a path leads to. */
function step(nodes: readonly Node[], text: string): Node[] {
  const all = nodes.flatMap(flat);
  if (text === '[]') return all.flatMap((node) => ('item' in node ? [node.item] : []));
  if (text === '<key>') return all.flatMap((node) => (node.kind === 'map' ? [node.value] : []));
  const [, tag, value = ''] = /^\{(\w+)=(\w+)\}$/.exec(text) ?? [];
  if (tag !== undefined) {
    return all.flatMap((node) => {
      const variant = node.kind === 'tagged' && node.tag === tag ? node.variants[value] : undefined;
      return variant === undefined ? [] : [variant];
    });
  }
  return all.flatMap(objectsOf).flatMap((keys) => {
    const key = Object.hasOwn(keys, text) ? keys[text] : undefined;
    return key === undefined ? [] : [key.type];
  });
}

function lookUp(path: string): Node[] {
  const steps = path.match(/\{[^}]*\}|\[\]|<key>|\w+/g) ?? [];
  return steps.reduce<Node[]>(step, [root]);
}

/** The kinds of values that a node takes, in the words of the list. */
function kinds(node: Node): string[] {
  switch (node.kind) {
    case 'values':
      return [...node.values];
    case 'list':
      return kinds(node.item).flatMap((kind) => [kind, `array<${kind}>`]);
    case 'array':
      return kinds(node.item).map((kind) => `array<${kind}>`);
    case 'map':
      return ['object', ...kinds(node.value).map((kind) => `map<${kind}>`)];
    case 'tagged':
      return ['object'];
    case 'object':
      return ['object', ...(node.shorthand?.accepts ?? []).flatMap(kinds)];
    case 'choice':
      return node.of.flatMap(kinds);
    default:
      return [node.kind];
  }
}

/** The words of a type in the list, without null, which every optional key takes. */
function words(type: string): string[] {
  const plain = type.replaceAll('"', '').replaceAll('array<array<any>>', 'array<array<integer>>');
  return [...new Set(plain.split('|'))].filter((word) => word !== 'null' && word !== 'type');
}

/** Keys that take more here than the list says, because its schema says less than mirrord accepts. */
const wider = [/\.connection\.url$/, /^target(\.path)?$/];

test('every key path of mirrord is known', (t) => {
  t.is(lines.length, 1270);
  const unknown = lines
    .map((line) => line.split('\t')[0] ?? '')
    .filter((path) => lookUp(path).length === 0);
  t.deepEqual(unknown, []);
});

test('every key path of mirrord has the type it has there', (t) => {
  const wrong = lines.flatMap((line) => {
    const [path = '', type = ''] = line.split('\t');
    const taken = new Set(lookUp(path).flatMap(kinds));
    const missing = words(type).filter((word) => !taken.has(word));
    const listed = words(type).includes('object')
      ? ['map<string>', 'map<any>', 'map<object>', ...words(type)]
      : words(type);
    const more = [...taken].filter(
      (kind) => !listed.includes(kind) && !(kind === 'object' && type.includes('map<')),
    );
    const tooMuch = wider.some((pattern) => pattern.test(path)) ? [] : more;
    return missing.length + tooMuch.length === 0 ? [] : [{path, type, taken: [...taken]}];
  });
  t.deepEqual(wrong, []);
});
