/**
 * How an agent gets to its target, what it needs for that, and what doesn't work without.
 */

import type {V1Container, V1SecurityContext} from '@kubernetes/client-node';
import type {ResolvedConfig} from '../../config/schema/root.ts';
import type {KubeTarget} from '../target/resolve.ts';

/** The `agent` block of the configuration. */
export type AgentConfig = ResolvedConfig['agent'];

/**
 * `visiting`: a pod on the target's node, which enters the target's namespaces. `beside`: a pod in the
 * target's namespace of the cluster, for want of the capabilities for that. `ephemeral`: a container of the
 * target's pod. `targetless`: a pod somewhere.
 */
export type AgentMode = 'visiting' | 'beside' | 'ephemeral' | 'targetless';

/** An ordinary user that no image is likely to have. */
const ordinaryId = 65_532;

function isDisabled({disabled_capabilities: disabled = []}: AgentConfig, name: string): boolean {
  return disabled.some((one) => one.toUpperCase().replace(/^CAP_/, '') === name);
}

/** Chooses by target and configuration. */
export function agentMode(target: KubeTarget, config: AgentConfig): AgentMode {
  if (target.podName === undefined) return 'targetless';
  if (config.ephemeral) return 'ephemeral';
  const mayEnter = !isDisabled(config, 'SYS_ADMIN') && !isDisabled(config, 'SYS_PTRACE');
  return mayEnter || config.privileged ? 'visiting' : 'beside';
}

/** The capabilities that the agent asks for. */
export function agentCapabilities(mode: AgentMode, config: AgentConfig): string[] {
  // setns(2) needs SYS_ADMIN, the links in /proc/PID/ns and /proc/PID/root need SYS_PTRACE. To redirect needs NET_ADMIN; to
  // copy packets, which is the better way to mirror, NET_RAW.
  const wanted = {
    visiting: ['SYS_ADMIN', 'SYS_PTRACE', 'NET_ADMIN', 'NET_RAW'],
    ephemeral: ['SYS_PTRACE', 'NET_ADMIN', 'NET_RAW'],
    beside: [],
    targetless: [],
  }[mode];
  // Who can't have incoming traffic has no use for less of it, and may be allowed no capability at all.
  const isUseful = (name: string): boolean =>
    name !== 'NET_RAW' || !isDisabled(config, 'NET_ADMIN');
  return wanted.filter((name) => isUseful(name) && !isDisabled(config, name));
}

/** What doesn't work for want of capabilities, in one sentence; undefined when all does. */
export function missingAbilities(mode: AgentMode, config: AgentConfig): string | undefined {
  if (config.privileged || mode === 'targetless') return undefined;
  if (mode === 'beside') {
    return (
      "without SYS_ADMIN and SYS_PTRACE the agent works beside the target's pod, from an address of its own: " +
      "outgoing traffic, DNS and the specified environment work; the pod's localhost, addresses, host name, files and " +
      'incoming traffic do not (agent.ephemeral can do more)'
    );
  }
  const lost = [
    ...(mode === 'ephemeral' && isDisabled(config, 'SYS_PTRACE')
      ? ["the target's files, and what its image adds to the environment"]
      : []),
    ...(isDisabled(config, 'NET_ADMIN') ? ['incoming traffic'] : []),
  ];
  if (lost.length === 0) return undefined;
  return `without the disabled capabilities the agent can't have: ${lost.join('; ')}`;
}

/** The numeric user of a container, where it is specified and an ordinary one. */
function ordinaryUser(target: KubeTarget): number | undefined {
  if (target.podName === undefined) return undefined;
  const {spec} = target.pod;
  const container = spec?.containers.find(({name}) => name === target.containerName);
  const user = container?.securityContext?.runAsUser ?? spec?.securityContext?.runAsUser;
  return user === 0 ? undefined : user;
}

/** The security context of the agent's container: an ordinary user's unless it needs capabilities. */
export function securityContext(
  mode: AgentMode,
  target: KubeTarget,
  config: AgentConfig,
): NonNullable<V1Container['securityContext']> {
  const {app_armor_profile: appArmor, seccomp_profile: seccomp} = config.security_context ?? {};
  const profiles: V1SecurityContext = {
    ...(appArmor !== undefined && {appArmorProfile: profile(appArmor)}),
    ...(seccomp !== undefined && {seccompProfile: profile(seccomp)}),
  };
  if (config.privileged) {
    return {privileged: true, runAsUser: 0, runAsGroup: 0, runAsNonRoot: false, ...profiles};
  }
  const add = agentCapabilities(mode, config);
  const common: V1SecurityContext = {
    capabilities: {drop: ['ALL'], ...(add.length > 0 && {add})},
    readOnlyRootFilesystem: true,
    seccompProfile: {type: 'RuntimeDefault'},
    // The API server takes "no escalation" and SYS_ADMIN for a contradiction.
    ...(!add.includes('SYS_ADMIN') && {allowPrivilegeEscalation: false}),
    ...profiles,
  };
  // Capabilities that a pod adds reach root only: an ordinary user's execve(2) drops them.
  if (add.length > 0) return {runAsUser: 0, runAsGroup: 0, runAsNonRoot: false, ...common};
  // The target's own user may look at its processes even so.
  const user = (mode === 'ephemeral' ? ordinaryUser(target) : undefined) ?? ordinaryId;
  return {runAsUser: user, runAsGroup: user, runAsNonRoot: true, ...common};
}

function profile({type, localhost_profile: name}: {type: string; localhost_profile?: string}): {
  type: string;
  localhostProfile?: string;
} {
  return {type, ...(name !== undefined && {localhostProfile: name})};
}
