/**
 * `feature.db_branches`: databases of one's own for a session, made by an operator next to the target's.
 */

import {connected} from './branch-keys.ts';
import {redis} from './redis.ts';
import {iamAuth} from './sources.ts';
import {array, key, map, named, object, port, string, tag, tagged} from './types.ts';

const item = object({filter: key(string(), 'Which rows or documents are copied.')});
const tables = key(map(item), 'Only these tables, by name.');
const collections = key(map(item), 'Only these collections, by name.');
const dumpArgs = key(array(string()), 'More arguments for the tool that dumps.');
const mode = {
  empty: tag('empty', 'Copy nothing but the tables or collections named.'),
  schema: tag('schema', 'Copy the schema, and the rows named.'),
  all: tag('all', 'Copy everything.'),
};

const sqlCopy = key(
  tagged('mode', {
    empty: object({mode: mode.empty, tables}),
    schema: object({mode: mode.schema, tables}),
    all: object({mode: mode.all}),
  }),
  'What is copied into the branch.',
  {default: {mode: 'empty'}},
);

const dumpCopy = key(
  tagged('mode', {
    empty: object({mode: mode.empty, tables, dump_args: dumpArgs}),
    schema: object({mode: mode.schema, tables, dump_args: dumpArgs}),
    all: object({mode: mode.all, dump_args: dumpArgs}),
  }),
  'What is copied into the branch.',
  {default: {mode: 'empty'}},
);

const documentCopy = key(
  tagged('mode', {
    empty: object({mode: mode.empty, collections}),
    all: object({mode: mode.all, collections}),
  }),
  'What is copied into the branch.',
  {default: {mode: 'empty'}},
);

const migrations = key(
  named(
    'Migrations',
    tagged('flavor', {
      flyway: object({
        flavor: tag('flyway', 'Flyway.'),
        path: key(string(), 'Local directory of the migrations.'),
        locations: key(array(string()), 'Where Flyway looks for them in an image.', {default: []}),
        image: key(string(), 'Image with the migrations.'),
      }),
      container: object({
        flavor: tag('container', 'A container of yours.'),
        image: key(string(), 'Its image.', {required: true}),
        command: key(array(string()), 'Its command.'),
        args: key(array(string()), 'Its arguments.'),
        env: key(map(string()), 'Its variables.', {default: {}}),
      }),
    }),
  ),
  'Migrations that run on the branch before the session.',
);

const readiness = tagged('type', {
  tcp: object({type: tag('tcp', 'Ready when its port accepts.')}),
  exec: object({
    type: tag('exec', 'Ready when a command ends with 0.'),
    command: key(array(string()), 'The command.', {required: true}),
  }),
  http_get: object({
    type: tag('http_get', 'Ready when a request is answered well.'),
    path: key(string(), 'Path of the request.', {required: true}),
    port: key(port(), "Port of the request; by default the branch's."),
  }),
});

const type = <const T extends string>(name: T) => tag(name, 'Kind of database.');
const iam_auth = key(iamAuth, 'Log in by IAM.');

/** A branch of any kind. */
export const branch = tagged('type', {
  clickhouse: object({type: type('clickhouse'), ...connected, copy: sqlCopy}),
  cockroachdb: object({type: type('cockroachdb'), ...connected, copy: sqlCopy, migrations}),
  dynamodb: object({type: type('dynamodb'), ...connected, copy: documentCopy, iam_auth}),
  generic: object({
    type: type('generic'),
    ...connected,
    port: key(port(), 'Port that it listens on.', {required: true}),
    command: key(array(string()), 'Command of the container.'),
    args: key(array(string()), 'Arguments of the container.'),
    env: key(map(string()), 'Variables of the container.', {default: {}}),
    readiness: key(readiness, 'When it counts as ready.'),
  }),
  mariadb: object({type: type('mariadb'), ...connected, copy: dumpCopy, migrations, iam_auth}),
  mongodb: object({type: type('mongodb'), ...connected, copy: documentCopy}),
  mssql: object({type: type('mssql'), ...connected, copy: sqlCopy, migrations}),
  mysql: object({type: type('mysql'), ...connected, copy: dumpCopy, migrations, iam_auth}),
  pg: object({
    type: type('pg'),
    ...connected,
    copy: dumpCopy,
    migrations,
    iam_auth,
    query_params: key(map(string()), "Parameters added to the connection's URL.", {default: {}}),
    connection_settings: key(map(string()), 'Settings made on each connection.', {default: {}}),
  }),
  redis,
  spanner: object({
    type: type('spanner'),
    ...connected,
    copy: sqlCopy,
    emulator_host: key(string(), "Variable that tells the program the emulator's address.", {
      default: 'SPANNER_EMULATOR_HOST',
    }),
  }),
});
