/**
 * Templates in configuration files: Tera's language, of which this is a part (`template/`).
 *
 * It is an implementation of our own because the Jinja-like libraries for Node either run templates as code
 * (a configuration that came with a repository must not), or lack what Tera has: arguments by name, tests
 * with arguments, `raw`, limits, places of errors.
 */

import {ConfigError} from './errors.ts';
import {positionAt} from './position.ts';
import {parseTemplate} from './template/parse.ts';
import {renderStatements, type Scope} from './template/render.ts';
import {TemplateError} from './template/tokens.ts';

/** Whether a text has anything to render. */
export function isTemplate(text: string): boolean {
  return /\{[{%#]/.test(text);
}

/** Renders a text. Throws MIRRORD_CONFIG_INVALID with `source`, the name that the text goes by. */
export function renderTemplate(text: string, scope: Scope, source: string): string {
  if (!isTemplate(text)) return text;
  try {
    return renderStatements(parseTemplate(text), scope);
  } catch (error) {
    if (!(error instanceof TemplateError)) throw error;
    const {line, column} = positionAt(text, error.offset);
    throw new ConfigError([`${line}:${column}: in the template: ${error.message}`], source, error);
  }
}
