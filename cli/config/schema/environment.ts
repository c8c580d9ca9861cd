/**
 * `feature.env`: which of the target's variables the program gets.
 */

import {boolean, key, list, map, object, string, toggle} from './types.ts';

/** The `feature.env` block. `true` is its defaults, `false` excludes every variable. */
export const environment = object(
  {
    include: key(
      list(string(), {split: true}),
      'Only these variables of the target; * and ? fit.',
      {
        env: 'MIRRORD_OVERRIDE_ENV_VARS_INCLUDE',
        now: ['*'],
      },
    ),
    exclude: key(list(string(), {split: true}), 'All but these variables of the target.', {
      env: 'MIRRORD_OVERRIDE_ENV_VARS_EXCLUDE',
    }),
    override: key(map(string()), 'Variables set to a value of yours; wins over env_file.'),
    mapping: key(map(string()), 'By a regular expression on names: the value such variables get.'),
    unset: key(list(string()), 'Variables that the program does not get, in any case of letters.'),
    env_file: key(string(), 'File of NAME=value lines that win over the target.', {
      env: 'MIRRORD_OVERRIDE_ENV_VARS_FILE',
    }),
    load_from_process: key(boolean(), 'Fetch variables inside the process instead of before it.', {
      default: false,
      env: 'MIRRORD_ENV_LOAD_FROM_PROCESS',
      status: 'no-effect-here',
    }),
  },
  toggle({exclude: ['*']}),
);
