/** The program's incoming traffic, from the configuration. */

import type {V1Pod} from '@kubernetes/client-node';
import {httpFilterOf} from '../layer/incoming/http-filter.ts';
import type {IncomingOptions} from '../layer/incoming.ts';
import type {PortRange} from '../layer/routing/options.ts';
import type {ResolvedConfig} from './config/schema/root.ts';
import type {Target} from './config/target.ts';
import {probedPorts} from './kube/target/probes.ts';

/** Which requests are meant, and how the agent is to treat HTTP. Throws MirrordError MIRRORD_HTTP_FILTER_INVALID. */
export function requestOptions({
  feature: {network},
  agent,
}: ResolvedConfig): Pick<IncomingOptions, 'filter' | 'filterPorts' | 'http'> {
  const {http_filter: written} = network.incoming;
  const filter = httpFilterOf(written);
  return {
    ...(filter !== undefined && {filter}),
    ...(written?.ports !== undefined && {filterPorts: new Set(written.ports)}),
    http: {
      detectionTimeoutMs: 1000 * agent.http_detection_timeout,
      maxBodyBytes: agent.max_body_buffer_size,
      bodyTimeoutMs: agent.max_body_buffer_timeout,
      jqTimeLimitMs: agent.jaq_time_limit,
      injectHeaders: agent.inject_headers,
      overrideCacheControl: agent.override_cache_control,
    },
  };
}

/**
 * `feature.network.incoming`, and what `agent` says about HTTP, as the layer takes it; undefined where nothing is to
 * come. `pod`: the target, where it is one of a cluster. Throws MirrordError MIRRORD_HTTP_FILTER_INVALID.
 */
export function incomingOptions(
  config: ResolvedConfig,
  target: Target,
  debuggerPorts: readonly PortRange[],
  pod?: V1Pod,
): IncomingOptions | undefined {
  const {feature, agent} = config;
  const {network} = feature;
  const {mode, ports, ignore_ports: ignored, port_mapping: mapping, ...incoming} = network.incoming;
  // Nothing comes to where there is no pod of the target's.
  if (mode === 'off' || target.kind === 'targetless') return undefined;
  return {
    mode,
    ...requestOptions(config),
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
