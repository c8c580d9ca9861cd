/**
 * `experimental`: switches that may change or go. Most of mirrord's are about its preloaded library.
 */

import {anything, boolean, integer, key, map, object, string} from './types.ts';

/** The `experimental` block. */
export const experimental = object({
  applev: key(map(anything()), 'macOS: which of the apple strings a process keeps.'),
  browser_extension_config: key(boolean(), 'Open a page that sets the browser extension up.', {
    default: false,
    status: 'later',
    instead: 'nothing is opened',
  }),
  disable_reuseaddr: key(boolean(), 'Ignore SO_REUSEADDR of the program.'),
  dlopen_cgo: key(boolean(), 'Hook libraries that Go loads at run time.', {default: false}),
  enable_exec_hooks_linux: key(boolean(), 'Hook exec of the program.', {default: true}),
  go_asmcgocall: key(boolean(), "Hook Go's way to call C."),
  guard_std_fds: key(boolean(), 'Keep descriptors 0, 1 and 2 taken.'),
  hide_ipv6_interfaces: key(boolean(), 'Leave IPv6 out of the list of interfaces.', {
    default: false,
    status: 'later',
    now: false,
    instead: 'the program sees the interfaces of its own network',
  }),
  idle_local_http_connection_timeout: key(
    integer(),
    'Milliseconds that an idle connection for stolen requests is kept.',
    {default: 3000, status: 'later', instead: 'no requests are stolen'},
  ),
  ignore_system_proxy_config: key(boolean(), "macOS: hide the system's proxy settings.", {
    default: false,
  }),
  latency: key(
    object({
      transmit_delay: key(integer(), 'Milliseconds added to what is sent.', {default: 0}),
      receive_delay: key(integer(), 'Milliseconds added to what is received.', {default: 0}),
    }),
    'Delays on outgoing traffic.',
    {
      deprecated: 'chaos rules take its place',
      status: 'later',
      instead: 'traffic is not delayed',
    },
  ),
  non_blocking_tcp_connect: key(boolean(), 'Return from connect before the target has connected.', {
    default: true,
    deprecated: 'it is always so',
  }),
  sip_log_destination: key(string(), 'macOS: log file of the patching of binaries.'),
  sip_utils: key(boolean(), 'macOS: bring patched tools along.', {
    default: true,
    deprecated: 'it is always so',
  }),
  tcp_ping4_mock: key(boolean(), "Answer the program's attempt to ping by TCP.", {default: true}),
  trust_any_certificate: key(boolean(), 'macOS: make the program trust any certificate.', {
    default: false,
  }),
  use_dev_null: key(boolean(), 'Back remote files by /dev/null.', {default: true}),
});
