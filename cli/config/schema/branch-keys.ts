/**
 * What database branches of every kind have in common.
 */

import {connection} from './sources.ts';
import {integer, key, string} from './types.ts';

/** Keys that a branch of any kind has. */
export const branchKeys = {
  id: key(string(), 'ID by which sessions share the branch.'),
  name: key(string(), "The database's name; by default from the connection."),
  ttl_secs: key(integer(0, 900), 'Seconds it outlives its last session.', {effective: '300'}),
  ttl_mins: key(integer(0, 15), 'The same in minutes, instead of ttl_secs.'),
  creation_timeout_secs: key(integer(), 'Seconds that its creation may take.', {default: 60}),
  version: key(string(), 'Version of the database, as the tag of the image.'),
  image: key(string(), 'Image of the database, instead of a version.'),
  profile: key(string(), 'Profile of the operator with more settings for the branch.'),
};

/** The same with the connection that every kind but a local Redis needs. */
export const connected = {
  ...branchKeys,
  connection: key(connection, "The target's connection, which the branch stands in for.", {
    required: true,
  }),
};
