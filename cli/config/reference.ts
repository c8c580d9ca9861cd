/**
 * The reference page, made from the schema: a table a block, a row a key.
 */

import {root} from './schema/root.ts';
import type {Key, KeyInfo, Keys, Node, Status} from './schema/types.ts';
import {inherit, isRecord, outermost} from './schema/walk.ts';

/** What a reader needs to know before the tables. */
const introduction = `# Configuration

<!-- Made by scripts/config-reference.ts from cli/config/schema: change it there. -->

A file in JSON (\`.json\` or no extension), TOML (\`.toml\`) or YAML (\`.yaml\`, \`.yml\`), named by \`-f\` or
\`MIRRORD_CONFIG_FILE\`; \`-f\` alone means \`.mirrord/mirrord.json\`, and \`-f -\` standard input, as JSON. Every
key may be left out. For each key a flag or its environment variable wins over the file, and the file over the
default. Lists in the environment are separated by \`;\`. \`mirrord verify-config FILE\` checks a file, and
\`mirrord config schema\` prints the JSON Schema for editors.

The text is a template in [Tera](https://keats.github.io/tera/docs/)'s language, rendered before it is parsed:
\`{{ key }}\` is the session's key, \`{{ git_branch }}\` the branch that is checked out, and
\`{{ get_env(name="USER", default="me") }}\` a variable. Statements, filters and tests are Tera's, but for macros,
inheritance, HTML, dates, and the test \`matching\`.

**Status**: ✓ works · *later*: accepted and verified, but not available yet (a warning says what happens
instead) · *no effect*: has no meaning here, mostly as no library is preloaded into the program (a warning says why).
`;

const statuses: Readonly<Record<Status, string>> = {
  available: '✓',
  later: 'later',
  'no-effect-here': 'no effect',
};

type Above = {status: Status; instead: string | undefined};

/** The type of a key in few words. */
function typeOf(node: Node): string {
  return node.title === undefined ? shapeOf(node) : `[${node.title}](#${node.title.toLowerCase()})`;
}

/** The same without its name. */
function shapeOf(node: Node): string {
  switch (node.kind) {
    case 'values':
      return node.values.map((value) => `\`${value}\``).join(', ');
    case 'list':
      return `${typeOf(node.item)}, or list of`;
    case 'array':
      return `list of ${node.length === undefined ? '' : `${node.length} × `}${typeOf(node.item)}`;
    case 'map':
      return `map to ${typeOf(node.value)}`;
    case 'object':
      return [...(node.shorthand?.accepts ?? []).map(typeOf), 'object'].join(', ');
    case 'tagged':
      return `object by \`${node.tag}\``;
    case 'choice':
      return [...new Set(node.of.map(typeOf))].join(', ');
    default:
      return node.kind;
  }
}

function variablesOf({env}: KeyInfo): string {
  if (env === undefined) return '';
  const all = typeof env === 'string' || 'name' in env ? [env] : env;
  return all.map((one) => `\`${typeof one === 'string' ? one : one.name}\``).join(', ');
}

function defaultOf({default: value, effective, required}: KeyInfo): string {
  if (required === true) return '**required**';
  if (value === undefined || (isRecord(value) && Object.keys(value).length === 0)) {
    return effective ?? '';
  }
  return `\`${JSON.stringify(value)}\``;
}

/** Writes the page block by block. */
class Page {
  text = introduction;
  /** Named nodes still to be written, with what they inherit. */
  readonly #named = new Map<string, {node: Node; above: Above}>();
  readonly #written = new Set<string>();

  #row(name: string, {type, description, info}: Key, status: Status): string {
    const notes = [
      description,
      ...(info.deprecated === undefined ? [] : [`*Deprecated: ${info.deprecated}.*`]),
      ...(info.unstable === true ? ['*Unstable.*'] : []),
    ].join(' ');
    const cells = [
      `\`${name}\``,
      typeOf(type),
      defaultOf(info),
      variablesOf(info),
      statuses[status],
      notes,
    ];
    return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |\n`;
  }

  /** A table of the keys of an object, then what is inside of them. */
  block(heading: string, keys: Keys, above: Above): void {
    const inherited = Object.entries(keys).map(([name, key]) => ({
      name,
      key,
      above: inherit(above, key.info),
    }));
    this.text += `\n## ${heading}\n\n| key | type | default | environment | status | |\n|---|---|---|---|---|---|\n`;
    for (const {name, key, above: own} of inherited) this.text += this.#row(name, key, own.status);
    const base = heading === 'Root' ? '' : `${heading}.`;
    for (const {name, key, above: own} of inherited) this.inside(`${base}${name}`, key.type, own);
  }

  /** The blocks inside of a value. */
  inside(path: string, node: Node, above: Above): void {
    if (node.title !== undefined && !this.#written.has(node.title)) {
      if (!this.#named.has(node.title)) this.#named.set(node.title, {node, above});
      return;
    }
    if (node.title !== undefined && path !== node.title) return;
    switch (node.kind) {
      case 'object':
        this.block(path, node.keys, above);
        break;
      case 'list':
      case 'array':
        this.inside(`${path}[]`, node.item, above);
        break;
      case 'map':
        this.inside(`${path}.<name>`, node.value, above);
        break;
      case 'tagged':
        for (const [name, variant] of Object.entries(node.variants)) {
          this.inside(`${path} with ${node.tag} ${name}`, variant, above);
        }
        break;
      case 'choice':
        for (const one of node.of) this.inside(path, one, above);
    }
  }

  /** The nodes that several keys share, until none brings a new one. */
  finish(): void {
    for (const [title, {node, above}] of this.#named) {
      this.#written.add(title);
      this.text += `\n## ${title}\n\nTakes: ${shapeOf(node)}.\n`;
      this.inside(title, node, above);
    }
  }
}

/** The page as Markdown. */
export function referencePage(): string {
  const page = new Page();
  if (root.kind === 'object') page.block('Root', root.keys, outermost);
  page.finish();
  return page.text;
}
