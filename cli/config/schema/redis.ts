/**
 * The Redis branch, the only one that may run on this machine.
 */

import {branchKeys, connected} from './branch-keys.ts';
import {
  array,
  boolean,
  choice,
  integer,
  key,
  named,
  object,
  port,
  section,
  string,
  tag,
  tagged,
  values,
} from './types.ts';

const type = tag('redis', 'Kind of database.');

const variable = named(
  'RedisValue',
  choice(
    string(),
    object({
      type: tag('env', 'A variable of the target.'),
      variable: key(string(), 'Its name.', {required: true}),
      container: key(string(), 'Container that it is read from.'),
    }),
  ),
);

const connection = object({
  url: key(variable, 'The whole URL.'),
  host: key(variable, 'The host.'),
  port: key(port(), 'The port.', {effective: '6379'}),
  username: key(variable, 'The user.'),
  password: key(variable, 'The password.'),
  database: key(integer(), 'Number of the database.', {effective: '0'}),
  tls: key(boolean(), 'Whether the connection is TLS.'),
});

const local = object({
  runtime: key(values('container', 'redis_server', 'auto'), 'What Redis runs in.', {
    default: 'container',
  }),
  container_runtime: key(values('docker', 'podman', 'nerdctl'), 'Tool that runs the container.', {
    default: 'docker',
  }),
  container_command: key(string(), 'Path of that tool.'),
  server_command: key(string(), 'Path of redis-server.'),
  port: key(port(), 'Port that it listens on here.', {default: 6379}),
  version: key(string(), 'Tag of its image.', {default: '7-alpine'}),
  options: section(
    object({args: key(array(string()), 'More arguments.', {default: []})}),
    'Options of redis-server.',
  ),
});

const copy = key(
  tagged('mode', {
    empty: object({mode: tag('empty', 'Copy nothing.')}),
    all: object({
      mode: tag('all', 'Copy keys.'),
      patterns: key(array(string()), 'Only keys that one of these SCAN patterns fits.'),
    }),
  }),
  'What is copied into the branch.',
  {default: {mode: 'empty'}},
);

/** A Redis branch: remote unless `location` says local. */
export const redis = tagged(
  'location',
  {
    local: object({
      type,
      location: tag('local', 'On this machine.'),
      id: branchKeys.id,
      connection: section(connection, "The target's connection, which the branch stands in for."),
      local: section(local, 'How Redis runs on this machine.'),
    }),
    remote: object({
      type,
      location: key(values('remote'), 'In the cluster.', {default: 'remote'}),
      ...connected,
      copy,
    }),
  },
  'remote',
);
