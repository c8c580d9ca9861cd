/**
 * `feature.split_queues`: messages of queues shared between the target and the program by an operator.
 */

import {
  array,
  choice,
  type Keys,
  key,
  map,
  object,
  string,
  type Typed,
  tag,
  tagged,
  values,
} from './types.ts';

const jq = key(string(), 'jq program that says true for messages of the program.');
const filter = key(map(string()), 'By attribute: the regular expression that it must fit.');
const mode = key(values('steal', 'mirror'), 'Take the messages away, or copy them.', {
  default: 'steal',
});

const protobuf = object({
  message_type: key(string(), 'Full name of the message.', {required: true}),
  schema_file: key(string(), 'Local .proto file.'),
  descriptor_base64: key(string(), 'A FileDescriptorSet in base64, instead of a file.'),
  include_directories: key(array(string()), 'Where imports of the file are looked for.', {
    default: [],
  }),
});

/** The variants of an entry; `more` are the keys that the list form adds to each. */
function entry<const K extends Keys>(more: K) {
  const usual = <const T extends string>(type: T) =>
    object({
      queue_type: tag(type, 'Kind of queue.'),
      queue_mode: mode,
      message_filter: filter,
      jq_filter: jq,
      ...more,
    }) as Typed<unknown>;
  return tagged('queue_type', {
    SQS: usual('SQS'),
    Kafka: object({
      queue_type: tag('Kafka', 'Kind of queue.'),
      queue_mode: mode,
      message_filter: filter,
      jq_filter: jq,
      payload_protobuf: key(protobuf, 'How the payload is decoded for jq_filter.'),
      ...more,
    }) as Typed<unknown>,
    RMQ: object({
      queue_type: tag('RMQ', 'Kind of queue.'),
      queue_mode: mode,
      message_filter: key(map(string()), filter.description, {required: true}),
      ...more,
    }) as Typed<unknown>,
    GCPPubSub: usual('GCPPubSub'),
    AzureServiceBus: usual('AzureServiceBus'),
    RedisPubSub: usual('RedisPubSub'),
    Temporal: usual('Temporal'),
    BullMQ: usual('BullMQ'),
  }) as Typed<QueueEntry>;
}

/** What every entry has, whatever its kind. */
export interface QueueEntry {
  queue_type: string;
  queue_mode: 'steal' | 'mirror';
  /** Only in the list form; in the map form it is the name. */
  queue_id?: string;
  message_filter?: Record<string, string>;
  jq_filter?: string;
}

/** The `split_queues` block: a map by queue ID, or a list. */
export const splitQueues = choice(
  map(entry({})),
  array(entry({queue_id: key(string(), 'ID of the queue in the registry.', {required: true})})),
);
