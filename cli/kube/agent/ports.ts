/**
 * The ports of an agent: where its clients reach it, and where it tells its metrics.
 *
 * They are ports of the agent's own pod, which for an ephemeral one is the target's: a port that the target wants must
 * stay free there, also while the target's container starts again.
 */

import {randomInt} from 'node:crypto';
import {ConfigError} from '../../config/errors.ts';
import {parseSocketAddress} from '../../config/socket-address.ts';
import type {KubeTarget} from '../target/resolve.ts';
import type {AgentConfig, AgentMode} from './mode.ts';

/** Above the ports that programs listen at, mostly; as mirrord has it. */
const ports = {first: 30_000, last: 65_535};

/** What the target's pod says it listens at. */
function portsOf(target: KubeTarget): number[] {
  const {containers = [], initContainers = []} =
    target.podName === undefined ? {} : (target.pod.spec ?? {});
  return [...containers, ...initContainers]
    .flatMap((one) => one.ports ?? [])
    .map(({containerPort}) => containerPort);
}

function metricsPort({metrics}: AgentConfig): number | undefined {
  return metrics === undefined ? undefined : parseSocketAddress(metrics)?.port;
}

/** Chooses where clients reach the agent: neither one of the target's ports nor that of the metrics. */
export function choosePort(target: KubeTarget, config: AgentConfig): number {
  const taken = new Set([...portsOf(target), metricsPort(config)]);
  for (;;) {
    const port = randomInt(ports.first, ports.last + 1);
    if (!taken.has(port)) return port;
  }
}

/** Throws MIRRORD_CONFIG_INVALID where metrics would take a port of the target's. */
export function checkMetricsPort(mode: AgentMode, target: KubeTarget, config: AgentConfig): void {
  const port = metricsPort(config);
  if (mode !== 'ephemeral' || port === undefined || !portsOf(target).includes(port)) return;
  throw new ConfigError([
    `agent.metrics has port ${port}, which is the target's: an ephemeral agent shares its addresses`,
  ]);
}
