/**
 * `feature.network.incoming`: traffic of the target that comes to the program.
 */

import {httpFilter} from './http-filter.ts';
import {array, boolean, key, named, object, port, string, toggle, values} from './types.ts';

const mode = values('mirror', 'steal', 'off');

const tlsDelivery = named(
  'TlsDelivery',
  object({
    protocol: key(values('tcp', 'tls'), 'Whether stolen TLS requests arrive as TLS or plain.', {
      required: true,
    }),
    trust_roots: key(array(string()), "Files of certificates that the program's may be signed by."),
    server_cert: key(string(), "File of the program's own certificate."),
    server_name: key(string(), 'Server name to ask for.'),
  }),
);

const noTls = {status: 'later', instead: 'TLS connections reach the program as they are'} as const;

/** The `incoming` block. A mode or a boolean may stand for it; `true` means mirror. */
export const incoming = object(
  {
    mode: key(mode, 'Copy the traffic, take it away from the target, or leave it alone.', {
      default: 'mirror',
      env: {name: 'MIRRORD_AGENT_TCP_STEAL_TRAFFIC', values: {true: 'steal', false: 'off'}},
    }),
    port_mapping: key(
      array(array(port(), 2)),
      'Pairs of a local port and the port of the target that it stands for.',
    ),
    listen_ports: key(
      array(array(port(), 2)),
      'Pairs of a port the program listens on and its number on 127.0.0.1 of this machine.',
    ),
    ignore_ports: key(array(port()), 'Ports whose traffic stays with the target.'),
    ports: key(array(port()), 'The only ports whose traffic comes here.'),
    ignore_localhost: key(boolean(), 'Leave listeners on localhost local.', {default: false}),
    http_filter: key(httpFilter, 'Which HTTP requests come to the program; the others pass.'),
    on_concurrent_steal: key(
      values('override', 'continue', 'abort'),
      'What to do when someone else steals the same traffic.',
      {default: 'abort', env: 'MIRRORD_OPERATOR_ON_CONCURRENT_STEAL'},
    ),
    tls_delivery: key(tlsDelivery, 'How stolen TLS requests reach the program.', noTls),
    https_delivery: key(tlsDelivery, 'How stolen TLS requests reach the program.', {
      deprecated: 'use tls_delivery',
      ...noTls,
    }),
  },
  toggle({mode: 'off'}, mode),
);
