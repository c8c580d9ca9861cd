/**
 * Reads `env_file`: lines of NAME=value with comments and quotes, as dotenv files have them. `$` has no
 * meaning there: a value is what is written.
 */

import {readFileSync} from 'node:fs';
import {parseEnv} from 'node:util';
import {MirrordError} from '../errors.ts';
import type {Variables} from './environment.ts';

/** A file of variables is read whole: one that is larger is none, bytes. */
const sizeLimit = 4 * 1024 * 1024;

/** Reads the variables of a file. Throws MIRRORD_ENV_FILE_UNREADABLE. */
export function readEnvFile(path: string): Variables {
  try {
    const content = readFileSync(path, 'utf8');
    if (content.length > sizeLimit) throw new Error(`it is larger than ${sizeLimit} bytes`);
    return parseEnv(content.replace(/^\uFEFF/, ''));
  } catch (cause) {
    throw new MirrordError(
      'MIRRORD_ENV_FILE_UNREADABLE',
      `the file of variables ${path} can't be read: ${(cause as Error).message}`,
      {hint: 'it has lines of NAME=value; see --env-file, or feature.env.env_file', cause},
    );
  }
}
