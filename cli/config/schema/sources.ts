/**
 * Where a database branch finds the parts of a connection: variables of the target, Secrets, secret managers.
 */

import {anything, choice, key, named, object, string, tag, tagged, values} from './types.ts';

const localName = key(string(), 'Variable that the program gets it in.');
const variable = key(string(), "Name of the target's variable.", {required: true});
const container = key(string(), 'Container that the variable is read from.');

/** One value: a variable (directly or through envFrom), a key of a Secret, or a secret manager's. */
export const source = named(
  'ValueSource',
  tagged('type', {
    env: object({
      type: tag('env', 'A variable of the pod template.'),
      variable,
      container,
      value: key(string(), 'Its value, where the template has none; kept in a Secret.'),
    }),
    env_from: object({
      type: tag('env_from', 'A variable that comes by envFrom.'),
      variable,
      container,
    }),
    secret: object({
      type: tag('secret', 'A key of a Secret.'),
      name: key(string(), 'Name of the Secret.', {required: true}),
      key: key(string(), 'Key in the Secret.', {required: true}),
      env_var_name: localName,
    }),
    gcp_secret_manager: object({
      type: tag('gcp_secret_manager', 'A secret of Google Cloud Secret Manager.'),
      secret_ref: key(string(), 'Its full name.', {required: true}),
      env_var_name: localName,
    }),
  }),
);

const kind = key(values('env', 'env_from'), 'Where the variables below are found.');

const params = object({
  host: key(anything(), 'Variable or source of the host.'),
  port: key(anything(), 'Variable or source of the port.'),
  user: key(anything(), 'Variable or source of the user.'),
  password: key(anything(), 'Variable or source of the password.'),
  database: key(anything(), 'Variable or source of the database.'),
});

/** The target's connection to the database: one URL, or its parts. */
export const connection = named(
  'Connection',
  choice(
    object({
      type: kind,
      url: key(choice(source, string()), 'Variable or source of the URL.', {required: true}),
    }),
    object({type: kind, params: key(params, 'The parts of the connection.', {required: true})}),
  ),
);

/** How the branch logs in with an identity of the cloud instead of a password. */
export const iamAuth = named(
  'IamAuth',
  tagged('type', {
    aws_rds: object({
      type: tag('aws_rds', 'IAM of AWS.'),
      region: key(source, 'Source of the region.'),
      access_key_id: key(source, 'Source of the access key ID.'),
      secret_access_key: key(source, 'Source of the secret access key.'),
      session_token: key(source, 'Source of the session token.'),
    }),
    gcp_cloud_sql: object({
      type: tag('gcp_cloud_sql', 'IAM of Google Cloud SQL.'),
      project: key(source, 'Source of the project.'),
      credentials_json: key(source, 'Source of the credentials, as JSON.'),
      credentials_path: key(source, 'Source of the path of the credentials.'),
    }),
  }),
);
