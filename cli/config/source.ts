/**
 * Finds and reads the configuration file.
 */

import {readFileSync, statSync} from 'node:fs';
import {resolve} from 'node:path';
import {MirrordError} from '../../layer/errors.ts';
import {ConfigError} from './errors.ts';
import {formatOf} from './parse.ts';
import type {Format} from './position.ts';

/** Where `-f` without a value looks. */
export const defaultFile = './.mirrord/mirrord.json';

/** Largest file: a hand-written one has some kilobytes, and templates and positions take several times it. */
const maxBytes = 1024 * 1024;

/** A configuration file as it was read. */
export interface Source {
  /** What messages call it. */
  name: string;
  text: string;
  format: Format;
}

/**
 * The file to read: of `-f` (true without a value), else of MIRRORD_CONFIG_FILE; undefined for none. Without
 * either, no file is looked for, as in mirrord.
 */
export function configFile(
  flag: string | true | undefined,
  env: Readonly<Record<string, string | undefined>>,
): string | undefined {
  if (flag === true) return defaultFile;
  if (flag !== undefined) return flag;
  return env['MIRRORD_CONFIG_FILE'] || undefined;
}

function tooLarge(name: string): ConfigError {
  return new ConfigError([`is larger than ${maxBytes / 1024} KiB`], name);
}

/**
 * Reads a configuration file; `-` is standard input, read to its end as JSON. Throws
 * MIRRORD_CONFIG_NOT_FOUND and MIRRORD_CONFIG_INVALID.
 */
export function readSource(file: string, directory: string): Source {
  const name = file === '-' ? 'standard input' : file;
  const format = file === '-' ? 'json' : formatOf(file);
  try {
    const path = file === '-' ? 0 : resolve(directory, file);
    if (typeof path === 'string') {
      const {size} = statSync(path);
      if (size > maxBytes) throw tooLarge(name);
    }
    const bytes = readFileSync(path);
    if (bytes.length > maxBytes) throw tooLarge(name);
    const text = new TextDecoder('utf-8', {fatal: true}).decode(bytes);
    return {name, text, format};
  } catch (cause) {
    if (cause instanceof ConfigError) throw cause;
    if (cause instanceof TypeError) throw new ConfigError(['is not UTF-8'], name, cause);
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause);
    throw new MirrordError('MIRRORD_CONFIG_NOT_FOUND', `${name} can't be read (${code})`, {
      hint: 'the file is that of -f, or of MIRRORD_CONFIG_FILE',
      cause,
    });
  }
}
