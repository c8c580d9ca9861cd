/**
 * The target's environment as its pod specifies it, from what the agent's own container was given.
 *
 * The agent's container gets the target's `env` and `envFrom` with every name behind a prefix: a plain
 * NODE_OPTIONS or LD_PRELOAD would reach the agent itself. Variables of Services the kubelet gives
 * every container of the namespace under the same names.
 */

/** In front of the names that are the target's. */
export const TARGET_PREFIX = 'MIRRORD_TARGET_';

/** "kubernetes pkg/kubelet/envvars: FromServices": names of what is told about a Service. */
const SERVICE_VARIABLE =
  /^[A-Z][A-Z0-9_]*_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$/;

/**
 * Picks from the agent's environment what is the target's. `hasServices`: the agent is in the target's
 * namespace, and what it was told about Services the target was told too.
 */
export function specifiedEnvironment(
  own: Readonly<Record<string, string | undefined>>,
  hasServices: boolean,
): Record<string, string> {
  const services: Record<string, string> = {};
  const specified: Record<string, string> = {};
  for (const [name, value = ''] of Object.entries(own)) {
    if (name.startsWith(TARGET_PREFIX)) {
      const plain = name.slice(TARGET_PREFIX.length);
      if (plain !== '' && plain !== '__proto__') specified[plain] = value;
    } else if (hasServices && isOfService(name, own)) {
      services[name] = value;
    }
  }
  return {...services, ...specified};
}

/** A variable that only looks like one (HTTP_PORT) has no host beside it. */
function isOfService(name: string, own: Readonly<Record<string, string | undefined>>): boolean {
  if (!SERVICE_VARIABLE.test(name)) return false;
  const service = name.replace(/_(SERVICE_HOST|SERVICE_PORT.*|PORT(_\d+_.*)?)$/, '');
  return own[`${service}_SERVICE_HOST`] !== undefined;
}
