/**
 * `internal_proxy`, `external_proxy` and `container`: the helper processes of mirrord's own design, most of
 * which this one has no counterpart of.
 */

import {array, boolean, integer, key, object, string} from './types.ts';

const log = {
  log_level: key(string(), 'What it logs, as a level or as directives.', {
    default: 'mirrord=info,warn',
  }),
  log_destination: key(string(), 'Log file, or a directory if it ends in a slash.', {
    effective: 'a new file in the temporary directory',
  }),
  json_log: key(boolean(), 'Log as lines of JSON.', {default: true}),
};

/** The `internal_proxy` block. */
export const internalProxy = object({
  start_idle_timeout: key(integer(), 'Seconds to wait for the first process.', {default: 60}),
  idle_timeout: key(integer(), 'Seconds to stay after the last process.', {default: 5}),
  socket_timeout: key(integer(), 'Seconds of idleness of a socket.', {default: 31_536_000}),
  ping_interval: key(integer(), 'Seconds between pings of the agent.', {default: 30}),
  process_logging_interval: key(integer(), 'Seconds between two logs of its processes.', {
    default: 60,
  }),
  ...log,
});

/** The `external_proxy` block. */
export const externalProxy = object({
  tls_enable: key(boolean(), 'Talk TLS to the sidecar.', {default: true}),
  start_idle_timeout: key(integer(), 'Seconds to wait for the first connection.', {default: 60}),
  idle_timeout: key(integer(), 'Seconds to stay after the last connection.', {default: 5}),
  host_ip: key(string(), 'Address to listen on.'),
  ...log,
});

/** The `container` block. */
export const container = object({
  cli_image: key(string(), "The sidecar's image.", {
    effective: "the image of this mirrord's version",
  }),
  cli_extra_args: key(array(string()), 'More arguments for starting the sidecar.', {default: []}),
  cli_prevent_cleanup: key(boolean(), 'Keep the sidecar when the session ends.', {default: false}),
  cli_image_lib_path: key(string(), "Path of the preloaded library in the sidecar's image.", {
    default: '/opt/mirrord/lib/libmirrord_layer.so',
    status: 'no-effect-here',
  }),
  cli_tls_path: key(string(), 'Path of the certificate in the sidecar.', {
    default: '/opt/mirrord/tls/mirrord-tls.pem',
  }),
  override_host_ip: key(string(), 'Address of this machine as containers see it.'),
  host_gateway_detection: key(boolean(), 'Name this machine to the sidecar by host-gateway.', {
    default: true,
  }),
  platform: key(string(), "Platform of the sidecar's image."),
});
