/**
 * `feature`: what of the target the program gets.
 */

import {branch} from './branches.ts';
import {environment} from './environment.ts';
import {files} from './files.ts';
import {network} from './network.ts';
import {preview} from './preview.ts';
import {splitQueues} from './queues.ts';
import {array, boolean, key, object, section, string} from './types.ts';

const copyTarget = object(
  {
    enabled: key(boolean(), 'Make the copy.', {default: true}),
    scale_down: key(boolean(), 'Scale the original down to nothing meanwhile.', {default: false}),
    exclude_containers: key(array(string()), 'Containers that the copy does without.', {
      default: [],
    }),
    exclude_init_containers: key(array(string()), 'Init containers that it does without.', {
      default: [],
    }),
  },
  {
    accepts: [boolean()],
    expand: (value) => (typeof value === 'boolean' ? {enabled: value} : undefined),
  },
);

const magic = object({
  auto_mount: key(boolean(), "Read the target's mounted volumes from the target.", {
    default: true,
    status: 'available',
  }),
  aws: key(boolean(), 'Keep the local AWS profile from the program.', {default: true}),
  turbo: key(boolean(), "Leave Turbopack's connections to itself local.", {default: true}),
});

/** The `feature` block. */
export const feature = object({
  copy_target: key(copyTarget, 'Run against a copy of the target.', {
    instead: 'the session uses the target itself',
    effective: 'false',
  }),
  db_branches: key(array(branch), "Databases of the session's own.", {
    default: [],
    unstable: true,
    now: [],
    instead: "the program uses the target's databases",
  }),
  env: section(environment, "Which of the target's variables the program gets.", {
    status: 'available',
  }),
  fs: section(files, 'Which files the program sees from the target.', {
    status: 'available',
  }),
  hostname: key(boolean(), "Give the program the target's host name.", {
    default: true,
    now: true,
    instead: "the program has the target's host name",
  }),
  magic: section(magic, 'Helpers for well-known tools.', {instead: 'no helper is at work'}),
  network: section(network, 'Traffic and names.'),
  preview: key(preview, 'An environment that stays in the cluster.', {
    instead: 'nothing is made in the cluster',
  }),
  split_queues: key(splitQueues, 'Queues whose messages are shared out.', {
    unstable: true,
    instead: 'messages stay with the target',
  }),
});
