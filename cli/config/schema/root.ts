/**
 * The root of the configuration, and the type of a resolved one.
 *
 * A feature's author makes a key available by one word: its `status` (here or in the file of its section).
 */

import {agent} from './agent.ts';
import {experimental} from './experimental.ts';
import {feature} from './feature.ts';
import {container, externalProxy, internalProxy} from './processes.ts';
import {target} from './target.ts';
import {boolean, integer, key, list, object, section, string, type ValueOf} from './types.ts';

const startupRetry = object({
  min_ms: key(integer(), 'Shortest wait between two attempts, in milliseconds.', {default: 500}),
  max_ms: key(integer(), 'Longest wait between two attempts, in milliseconds.', {default: 5000}),
  max_retries: key(integer(), 'How many more attempts; 0 for none.', {default: 2}),
});

/** The whole configuration. */
export const root = object({
  accept_invalid_certificates: key(
    boolean(),
    "Trust any certificate of the cluster's API server.",
    {
      env: 'MIRRORD_ACCEPT_INVALID_CERTIFICATES',
      effective: 'what the kubeconfig says',
      status: 'available',
    },
  ),
  agent: section(agent, 'What works for the session inside the cluster.', {status: 'available'}),
  api: key(boolean(), "Offer the session's local API on a Unix socket.", {
    default: true,
    env: 'MIRRORD_API',
    instead: 'a session has no API',
    now: false,
  }),
  baggage: key(string(), 'W3C baggage of requests to the operator.', {
    env: 'BAGGAGE',
    instead: 'no operator is used',
  }),
  ci: section(
    object({
      output_dir: key(string(), 'Directory of the output of programs that ci starts.', {
        default: '/tmp/mirrord',
      }),
    }),
    'Running in pipelines.',
    {instead: 'programs run in the foreground'},
  ),
  container: section(container, 'Running a container instead of a program.', {
    unstable: true,
    instead: 'programs are not containers',
  }),
  experimental: section(experimental, 'Switches that may change or go.', {
    status: 'no-effect-here',
  }),
  external_proxy: section(externalProxy, 'The helper of containers.', {
    instead: 'programs are not containers',
  }),
  feature: section(feature, 'What of the target the program gets.'),
  internal_proxy: section(internalProxy, "The helper of mirrord's preloaded library.", {
    status: 'no-effect-here',
  }),
  key: key(string(), 'Key by which sessions are told apart, as in {{ key }}.', {
    env: 'MIRRORD_KEY',
    effective: 'five random hexadecimal digits',
    status: 'available',
  }),
  kube_context: key(string(), 'Context of the kubeconfig.', {
    env: 'MIRRORD_KUBE_CONTEXT',
    effective: 'the current one',
    status: 'available',
  }),
  kubeconfig: key(
    string(),
    'Kubeconfig files, separated by colons; ~ and variables are expanded.',
    {
      env: 'MIRRORD_KUBECONFIG',
      effective: 'KUBECONFIG, then ~/.kube/config',
      status: 'available',
    },
  ),
  multi_cluster: key(boolean(), 'false: one cluster only, where the operator would use several.', {
    env: 'MIRRORD_MULTI_CLUSTER',
    now: false,
    instead: 'no operator is used',
  }),
  operator: key(boolean(), 'Demand an operator (true), or do without (false).', {
    env: 'MIRRORD_OPERATOR_ENABLE',
    effective: 'used if there is one',
    now: false,
    instead: 'no operator is used',
  }),
  profile: key(string(), 'Profile in the cluster, as name or namespace/name, laid over this.', {
    instead: 'no profile is looked for',
  }),
  sip_binaries: key(list(string()), 'macOS: more binaries to patch.', {status: 'no-effect-here'}),
  skip_build_tools: key(
    boolean(),
    "Compilers, go, cargo, git and the like use this machine's network.",
    {
      default: true,
      env: 'MIRRORD_SKIP_BUILD_TOOLS',
      status: 'available',
    },
  ),
  skip_extra_build_tools: key(list(string()), 'More such tools, by name.', {
    env: 'MIRRORD_SKIP_EXTRA_BUILD_TOOLS',
    status: 'available',
  }),
  skip_processes: key(list(string()), "Processes that use this machine's network, by name.", {
    env: 'MIRRORD_SKIP_PROCESSES',
    status: 'available',
  }),
  skip_sip: key(list(string()), 'macOS: binaries not to patch.', {
    default: ['git'],
    env: 'MIRRORD_SKIP_SIP',
    status: 'no-effect-here',
  }),
  startup_retry: section(startupRetry, 'How the first calls of the API server are repeated.', {
    status: 'available',
  }),
  target: section(target, 'Whose context the program gets.', {status: 'available'}),
  telemetry: key(boolean(), 'Tell the vendor about the use.', {
    default: true,
    env: 'MIRRORD_TELEMETRY',
    now: false,
    instead: 'nothing is sent to anyone',
  }),
  traceparent: key(string(), 'W3C trace parent of requests to the operator.', {
    env: 'TRACEPARENT',
    instead: 'no operator is used',
  }),
  use_proxy: key(boolean(), 'false: leave http_proxy and https_proxy out of account.', {
    default: true,
    env: 'MIRRORD_PROXY',
    status: 'available',
  }),
});

/** A configuration with every default filled in. */
export type ResolvedConfig = ValueOf<typeof root>;
