/**
 * Parses the text of a configuration file: JSON, TOML or YAML, by its extension.
 */

import {extname} from 'node:path';
import {parse as parseToml, TomlError} from 'smol-toml';
import {parseDocument} from 'yaml';
import {ConfigError} from './errors.ts';
import {jsonErrorOffset} from './json-error.ts';
import {type Format, positionAt, yamlOptions} from './position.ts';

/** The language of a file: by its extension, JSON without one. Throws MIRRORD_CONFIG_INVALID for others. */
export function formatOf(file: string): Format {
  const extension = extname(file).toLowerCase();
  if (extension === '.json' || extension === '') return 'json';
  if (extension === '.toml') return 'toml';
  if (extension === '.yaml' || extension === '.yml') return 'yaml';
  throw new ConfigError(
    [`can't be read: its extension is ${extension}, not .json, .toml, .yaml or .yml`],
    file,
  );
}

/** V8 says what is wrong, but not always where. */
function explainJson(text: string, error: Error): string {
  const {line, column} = positionAt(text, jsonErrorOffset(text));
  const what = error.message.replace(
    / in JSON at position.*| \(line \d+ column \d+\)|, (?:\.\.\.)?".*$/gs,
    '',
  );
  return `${line}:${column}: is not JSON: ${what}`;
}

function parseYaml(text: string): unknown {
  const document = parseDocument(text, yamlOptions);
  const [error] = document.errors;
  // The parser has the error of the engine, when it ran out of stack, among those of the text.
  if (error?.message.startsWith('Maximum call stack')) throw new RangeError(error.message);
  if (error !== undefined) {
    const [start] = error.linePos ?? [];
    const place = start === undefined ? '' : `${start.line}:${start.col}: `;
    throw new SyntaxError(
      `${place}is not YAML: ${error.message.split('\n')[0]?.replace(/ at line.*/, '')}`,
    );
  }
  // A few aliases are fine, an exponential number of them is an attack.
  return document.toJS({maxAliasCount: 100});
}

/** Parses a text. Throws MIRRORD_CONFIG_INVALID with `source`, the name that the text goes by. */
export function parseConfig(text: string, format: Format, source: string): unknown {
  try {
    if (text.trim() === '') return {};
    if (format === 'json') return JSON.parse(text);
    return format === 'toml' ? parseToml(text) : (parseYaml(text) ?? {});
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    if (error instanceof RangeError) throw new ConfigError(['is nested too deep'], source, error);
    if (format === 'json') throw new ConfigError([explainJson(text, error)], source, error);
    if (error instanceof TomlError) {
      const what = error.message.split('\n')[0]?.replace('Invalid TOML document: ', '');
      const problem = `${error.line}:${error.column}: is not TOML: ${what}`;
      throw new ConfigError([problem], source, error);
    }
    throw new ConfigError([error.message], source, error);
  }
}
