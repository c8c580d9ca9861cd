/** The program's incoming traffic, from the configuration. */

import type {V1Pod} from '@kubernetes/client-node';
import {httpFilterOf} from '../layer/incoming/http-filter.ts';
import type {IncomingOptions} from '../layer/incoming.ts';
import type {PortRange} from '../layer/routing/options.ts';
import type {ResolvedConfig} from './config/schema/root.ts';
import type {Target} from './config/target.ts';
import {probedPorts} from './kube/target/probes.ts';

/**
 * `feature.network.incoming`, and what `agent` says about HTTP, as the layer takes it; undefined where nothing is to
 * come. `pod`: the target, where it is one of a cluster. Throws MirrordError MIRRORD_HTTP_FILTER_INVALID.
 */
export function incomingOptions(
  {feature: {network}, agent}: ResolvedConfig,
  target: Target,
  debuggerPorts: readonly PortRange[],
  pod?: V1Pod,
): IncomingOptions | undefined {
  const {mode, ports, ignore_ports: ignored, port_mapping: mapping, ...incoming} = network.incoming;
  // Nothing comes to where there is no pod of the target's.
  if (mode === 'off' || target.kind === 'targetless') return undefined;
  const filter = httpFilterOf(incoming.http_filter);
  const filterPorts = incoming.http_filter?.ports;
  return {
    mode,
    ...(filter !== undefined && {filter}),
    ...(filterPorts !== undefined && {filterPorts: new Set(filterPorts)}),
    http: {
      detectionTimeoutMs: 1000 * agent.http_detection_timeout,
      maxBodyBytes: agent.max_body_buffer_size,
      bodyTimeoutMs: agent.max_body_buffer_timeout,
      jqTimeLimitMs: agent.jaq_time_limit,
      injectHeaders: agent.inject_headers,
      overrideCacheControl: agent.override_cache_control,
    },
    ...(ports !== undefined && {ports: new Set(ports)}),
    ignorePorts: new Set(ignored),
    portMapping: new Map(mapping?.map(([own = 0, targets = 0]) => [own, targets])),
    ignoreLocalhost: incoming.ignore_localhost,
    onConcurrentSteal: incoming.on_concurrent_steal,
    flushConnections: agent.flush_connections ?? false,
    ...(pod !== undefined && {stealWarnings: probedPorts(pod)}),
    debuggerPorts,
  };
}

/** `listen_ports`, as the layer takes it. */
export function hostPorts({feature: {network}}: ResolvedConfig): ReadonlyMap<number, number> {
  return new Map(network.incoming.listen_ports?.map(([own = 0, here = 0]) => [own, here]));
}
