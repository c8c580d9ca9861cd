/** The program's incoming traffic, from the configuration. */

import type {IncomingOptions} from '../layer/incoming.ts';
import type {PortRange} from '../layer/routing/options.ts';
import type {ResolvedConfig} from './config/schema/root.ts';
import type {Target} from './config/target.ts';

/** `feature.network.incoming` as the layer takes it; undefined where nothing is to come. */
export function incomingOptions(
  {feature: {network}}: ResolvedConfig,
  target: Target,
  debuggerPorts: readonly PortRange[],
): IncomingOptions | undefined {
  const {mode, ports, ignore_ports: ignored, port_mapping: mapping, ...incoming} = network.incoming;
  // Nothing comes to where there is no pod of the target's.
  if (mode === 'off' || target.kind === 'targetless') return undefined;
  return {
    mode,
    ...(ports !== undefined && {ports: new Set(ports)}),
    ignorePorts: new Set(ignored),
    portMapping: new Map(mapping?.map(([own = 0, targets = 0]) => [own, targets])),
    ignoreLocalhost: incoming.ignore_localhost,
    onConcurrentSteal: incoming.on_concurrent_steal,
    debuggerPorts,
  };
}
