/**
 * `feature.preview`: an environment that runs in the cluster and stays there, made by an operator.
 */

import {
  array,
  boolean,
  choice,
  integer,
  key,
  list,
  object,
  section,
  string,
  values,
} from './types.ts';

const mount = (kind: string) =>
  object({
    mount_at: key(string(), `Path of the ${kind} in the container.`, {required: true}),
    type: key(values('text', 'binary'), 'Whether payload is text or base64.'),
    payload: key(string(), 'The content itself.'),
    from_file: key(string(), 'Local file whose content it is.'),
  });

const lifetime = () => choice(integer(1), values('infinite'));

const idle = object({
  start_idle: key(boolean(), 'Start asleep.', {
    default: false,
    env: 'MIRRORD_PREVIEW_START_IDLE',
  }),
  sleep_after_secs: key(integer(30), 'Seconds without traffic after which it falls asleep.', {
    env: 'MIRRORD_PREVIEW_IDLE_SLEEP_AFTER_SECS',
  }),
  wake_timeout_secs: key(integer(1), 'Seconds that waking up may take.', {
    default: 90,
    env: 'MIRRORD_PREVIEW_IDLE_WAKE_TIMEOUT_SECS',
  }),
});

/** The `feature.preview` block. */
export const preview = object({
  image: key(string(), 'Image that the environment runs.', {env: 'MIRRORD_PREVIEW_IMAGE'}),
  ttl_mins: key(lifetime(), 'Minutes it lives, or infinite.', {
    env: 'MIRRORD_PREVIEW_TTL_MINS',
    effective: '60',
  }),
  ttl_secs: key(lifetime(), 'Seconds it lives, instead of minutes.', {
    env: 'MIRRORD_PREVIEW_TTL_SECS',
  }),
  creation_timeout_secs: key(integer(), 'Seconds that its creation may take.', {
    default: 60,
    env: 'MIRRORD_PREVIEW_CREATION_TIMEOUT_SECS',
  }),
  replicas: key(integer(1), 'How many pods it has.', {
    default: 1,
    env: 'MIRRORD_PREVIEW_REPLICAS',
  }),
  labels: section(
    object({
      include: key(list(string(), {split: true}), 'Labels to copy from the target; * and ? fit.'),
      exclude: key(list(string(), {split: true}), 'Labels not to copy from the target.'),
    }),
    "Which of the target's labels its pods carry.",
  ),
  idle: key(idle, 'Whether it sleeps while nobody uses it.'),
  config_mounts: key(array(mount('file')), 'Files put into the container.'),
  secret_mounts: key(array(mount('secret file')), 'Files put into the container as a Secret.'),
});
