/**
 * `feature.fs`: which files the program sees from the target.
 */

import {integer, key, list, map, object, string, toggle, values} from './types.ts';

const mode = values('local', 'localwithoverrides', 'read', 'write');

/** The `feature.fs` block. A mode or a boolean may stand for it. */
export const files = object(
  {
    mode: key(mode, 'Where a path goes that no pattern below decides.', {
      default: 'read',
      env: [
        'MIRRORD_FILE_MODE',
        {name: 'MIRRORD_FILE_RO_OPS', values: {true: 'read'}},
        {name: 'MIRRORD_FILE_OPS', values: {true: 'write', false: 'local'}},
      ],
    }),
    read_write: key(
      list(string()),
      "Regular expressions of paths that are the target's, to write.",
      {
        env: 'MIRRORD_FILE_READ_WRITE_PATTERN',
      },
    ),
    read_only: key(list(string()), "Regular expressions of paths that are the target's, to read.", {
      env: 'MIRRORD_FILE_READ_ONLY_PATTERN',
    }),
    local: key(list(string()), 'Regular expressions of paths that stay local.', {
      env: 'MIRRORD_FILE_LOCAL_PATTERN',
    }),
    not_found: key(list(string()), 'Regular expressions of paths that are not there at all.'),
    mapping: key(
      map(string()),
      'By a regular expression on paths: the path that is opened instead.',
    ),
    readonly_file_buffer: key(
      integer(),
      'Bytes read ahead from a file opened to read; 0 for none.',
      {
        default: 128_000,
      },
    ),
  },
  toggle({mode: 'local'}, mode),
);
