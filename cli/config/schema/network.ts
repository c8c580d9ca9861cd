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
      now: true,
      env: 'MIRRORD_TCP_OUTGOING',
      instead: "all connections but localhost's are made from the target",
    }),
    udp: key(boolean(), 'Send UDP from the target.', {
      default: true,
      now: true,
      env: 'MIRRORD_UDP_OUTGOING',
      instead: 'all datagrams are sent from the target',
    }),
    ignore_localhost: key(boolean(), 'Leave connections to localhost local.', {
      default: false,
      instead: 'localhost is local where something local listens, and else the target',
    }),
    filter: key(
      filter('Destinations [tcp|udp://][name|address|subnet][:port]'),
      'Which destinations.',
      {
        instead: 'every destination is reached from the target',
      },
    ),
    unix_streams: key(
      list(string()),
      "Regular expressions of Unix sockets that are the target's.",
      {
        env: 'MIRRORD_OUTGOING_REMOTE_UNIX_STREAMS',
        status: 'available',
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
      now: true,
      env: 'MIRRORD_REMOTE_DNS',
      instead: 'all names are resolved as the target does',
    }),
    filter: key(filter('Names [name|address|subnet][:port]'), 'Which names.', {
      instead: 'all names are resolved as the target does',
    }),
  },
  toggle({enabled: false}),
);

/** The `feature.network` block. `false` turns incoming, outgoing and DNS off. */
export const network = object(
  {
    incoming: section(incoming, 'Traffic of the target that comes to the program.', {
      instead: "the target's traffic stays with the target",
    }),
    outgoing: section(outgoing, 'Connections that the program makes.'),
    dns: section(dns, 'How the program resolves names.'),
    ipv6: key(boolean(), 'Give the program IPv6.', {
      default: true,
      now: true,
      env: 'MIRRORD_ENABLE_IPV6',
      instead: 'the program has IPv6',
    }),
  },
  toggle({incoming: {mode: 'off'}, outgoing: {tcp: false, udp: false}, dns: {enabled: false}}),
);
