/** The version of this mirrord, from its package. */

import {readFileSync} from 'node:fs';

/** As `--version` says it. */
export const {version} = JSON.parse(
  readFileSync(new URL('../package.json', import.meta.url), 'utf8'),
) as {version: string};
