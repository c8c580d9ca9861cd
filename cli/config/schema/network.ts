/**
 * `feature.network`: outgoing traffic, names, and the family of addresses.
 */

import {incoming} from './incoming.ts';
import {boolean, choice, key, list, object, section, string, toggle} from './types.ts';

/** A filter: either what goes to the target or what stays local, never both. */
const filter = (what: string) =>
  choice(
    object({remote: key(list(string()), `${what} that go to the target.`, {required: true})}),
    object({local: key(list(string()), `${what} that stay local.`, {required: true})}),
  );

/** The `outgoing` block: connections that the program makes. */
export const outgoing = object(
  {
    tcp: key(boolean(), 'Make TCP connections from the target.', {
      default: true,
      env: 'MIRRORD_TCP_OUTGOING',
    }),
    udp: key(boolean(), 'Send UDP from the target.', {
      default: true,
      env: 'MIRRORD_UDP_OUTGOING',
    }),
    ignore_localhost: key(boolean(), 'Leave connections to localhost local.', {
      default: false,
    }),
    filter: key(
      filter('Destinations [tcp|udp://][name|address|subnet][:port]'),
      'Which destinations.',
    ),
    unix_streams: key(
      list(string()),
      "Regular expressions of Unix sockets that are the target's.",
      {
        env: 'MIRRORD_OUTGOING_REMOTE_UNIX_STREAMS',
      },
    ),
  },
  toggle({tcp: false, udp: false}),
);

/** The `dns` block: how names are resolved. */
export const dns = object(
  {
    enabled: key(boolean(), 'Resolve names as the target does.', {
      default: true,
      env: 'MIRRORD_REMOTE_DNS',
    }),
    filter: key(filter('Names [name|address|subnet][:port]'), 'Which names.'),
  },
  toggle({enabled: false}),
);

/** The `feature.network` block. `false` turns incoming, outgoing and DNS off. */
export const network = object(
  {
    incoming: section(incoming, 'Traffic of the target that comes to the program.', {
      status: 'available',
    }),
    outgoing: section(outgoing, 'Connections that the program makes.', {status: 'available'}),
    dns: section(dns, 'How the program resolves names.', {status: 'available'}),
    ipv6: key(boolean(), 'Give the program IPv6.', {
      default: true,
      env: 'MIRRORD_ENABLE_IPV6',
      status: 'available',
    }),
  },
  toggle({incoming: {mode: 'off'}, outgoing: {tcp: false, udp: false}, dns: {enabled: false}}),
);
