/**
 * The flags that set keys, as data: `exec` and its relatives add them to their commands and hand what was
 * given to `loadConfig`. A flag means the same as the variable that stands beside it.
 */

import {type Command, InvalidArgumentError, Option} from 'commander';
import {expected} from './check.ts';
import {bindings, type Override, parseText} from './overlay.ts';
import {parsePath} from './path.ts';

/** One flag. */
export interface ConfigFlag {
  /** As commander has it: `-t, --target <target>`. */
  flags: string;
  description: string;
  /** The keys it sets; none for what is no key. */
  paths: readonly string[];
  /** The variable that means the same. */
  env?: string;
  /** The value of a flag that takes none, or none has been given to. */
  value?: unknown;
  choices?: readonly string[];
  /** What words of the flag mean, where they aren't the key's. */
  words?: Readonly<Record<string, string>>;
}

/** All flags that set keys. */
export const configFlags: readonly ConfigFlag[] = [
  {
    flags: '-t, --target <target>',
    description: 'whose context: kind/name[/container/name], targetless, demo/pod, process/pid',
    paths: ['target.path'],
    env: 'MIRRORD_IMPERSONATED_TARGET',
  },
  {
    flags: '-n, --target-namespace <namespace>',
    description: 'namespace of the target',
    paths: ['target.namespace'],
    env: 'MIRRORD_TARGET_NAMESPACE',
  },
  {
    flags: '-a, --agent-namespace <namespace>',
    description: 'namespace of the agent',
    paths: ['agent.namespace'],
    env: 'MIRRORD_AGENT_NAMESPACE',
  },
  {
    flags: '-l, --agent-log-level <level>',
    description: 'what the agent logs',
    paths: ['agent.log_level'],
    env: 'MIRRORD_AGENT_RUST_LOG',
  },
  {
    flags: '-i, --agent-image <image>',
    description: "the agent's image",
    paths: ['agent.image'],
    env: 'MIRRORD_AGENT_IMAGE',
  },
  {
    flags: '--agent-ttl <seconds>',
    description: "how long an ended agent's Job is kept",
    paths: ['agent.ttl'],
    env: 'MIRRORD_AGENT_TTL',
  },
  {
    flags: '--agent-startup-timeout <seconds>',
    description: 'how long to wait for the agent',
    paths: ['agent.startup_timeout'],
    env: 'MIRRORD_AGENT_STARTUP_TIMEOUT',
  },
  {
    flags: '-e, --ephemeral-container',
    description: 'run the agent as an ephemeral container of the target',
    paths: ['agent.ephemeral'],
    env: 'MIRRORD_EPHEMERAL_CONTAINER',
    value: true,
  },
  {
    flags: '--fs-mode <mode>',
    description:
      "where files are the pod's: read there (the default), written as well, or not at all",
    paths: ['feature.fs.mode'],
    env: 'MIRRORD_FILE_MODE',
    choices: ['write', 'read', 'local', 'local-with-overrides'],
    words: {'local-with-overrides': 'localwithoverrides'},
  },
  {
    flags: '-x, --override-env-vars-exclude <names>',
    description: "the target's variables to leave out, separated by ;",
    paths: ['feature.env.exclude'],
    env: 'MIRRORD_OVERRIDE_ENV_VARS_EXCLUDE',
  },
  {
    flags: '-s, --override-env-vars-include <names>',
    description: "the target's variables to take, separated by ;",
    paths: ['feature.env.include'],
    env: 'MIRRORD_OVERRIDE_ENV_VARS_INCLUDE',
  },
  {
    flags: '--env-file <file>',
    description: "file of variables that win over the target's",
    paths: ['feature.env.env_file'],
    env: 'MIRRORD_OVERRIDE_ENV_VARS_FILE',
  },
  {
    flags: '--no-remote-dns',
    description: 'resolve names locally',
    paths: ['feature.network.dns.enabled'],
    env: 'MIRRORD_REMOTE_DNS',
    value: false,
  },
  {
    flags: '--steal',
    description: "take the target's traffic instead of copying it",
    paths: ['feature.network.incoming.mode'],
    env: 'MIRRORD_AGENT_TCP_STEAL_TRAFFIC',
    value: 'steal',
  },
  {
    flags: '--no-outgoing',
    description: 'make all connections locally',
    paths: ['feature.network.outgoing.tcp', 'feature.network.outgoing.udp'],
    value: false,
  },
  {
    flags: '--no-tcp-outgoing',
    description: 'make TCP connections locally',
    paths: ['feature.network.outgoing.tcp'],
    env: 'MIRRORD_TCP_OUTGOING',
    value: false,
  },
  {
    flags: '--no-udp-outgoing',
    description: 'send UDP locally',
    paths: ['feature.network.outgoing.udp'],
    env: 'MIRRORD_UDP_OUTGOING',
    value: false,
  },
  {
    flags: '--skip-processes <names>',
    description: "processes that use this machine's network, separated by ;",
    paths: ['skip_processes'],
    env: 'MIRRORD_SKIP_PROCESSES',
  },
  {
    flags: '-c, --accept-invalid-certificates [yes]',
    description: "trust any certificate of the cluster's API server",
    paths: ['accept_invalid_certificates'],
    env: 'MIRRORD_ACCEPT_INVALID_CERTIFICATES',
    value: true,
  },
  {
    flags: '--no-telemetry',
    description: 'tell the vendor nothing (nothing is told anyway)',
    paths: ['telemetry'],
    env: 'MIRRORD_TELEMETRY',
    value: false,
  },
  {
    flags: '--disable-version-check',
    description: 'look for no newer version (none is looked for anyway)',
    paths: [],
    env: 'MIRRORD_CHECK_VERSION',
    value: false,
  },
  {
    flags: '--context <context>',
    description: 'context of the kubeconfig',
    paths: ['kube_context'],
    env: 'MIRRORD_KUBE_CONTEXT',
  },
  {
    flags: '-k, --key <key>',
    description: 'key by which the session is told apart',
    paths: ['key'],
    env: 'MIRRORD_KEY',
  },
];

/** The flag of the file itself, which comes before all keys. */
export const configFileFlag = {
  flags: '-f, --config-file [path]',
  description: 'configuration file; - is standard input; without a path ./.mirrord/mirrord.json',
  env: 'MIRRORD_CONFIG_FILE',
} as const;

function nodeAt(path: string) {
  return bindings.find((binding) => binding.path.join('.') === path)?.node;
}

function takesValue(option: Option): boolean {
  return option.required || option.optional;
}

/** Reads a flag's value as its key's type. Throws commander's InvalidArgumentError. */
function parseFlag(flag: ConfigFlag, text: string): unknown {
  const node = nodeAt(flag.paths[0] ?? '');
  const word = flag.words?.[text] ?? text;
  const value = node === undefined ? word : parseText(node, word);
  if (value === undefined) {
    throw new InvalidArgumentError(node === undefined ? '' : `It must be ${expected(node)}.`);
  }
  return value;
}

/**
 * Adds `-f` and every flag that sets a key to a command, but those whose long name is in `except`.
 * A value that doesn't fit its key is commander's to refuse, as it does with choices.
 */
export function addConfigFlags(command: Command, except: readonly string[] = []): Command {
  command.addOption(new Option(configFileFlag.flags, configFileFlag.description));
  for (const flag of configFlags) {
    const option = new Option(flag.flags, flag.description);
    if (except.includes(option.long ?? '')) continue;
    if (flag.choices !== undefined) option.choices([...flag.choices]);
    // After choices(), whose words are the flag's and not yet the key's.
    if (takesValue(option)) option.argParser((text) => parseFlag(flag, text));
    command.addOption(option);
  }
  return command;
}

/** The flags that matter to the way to an agent. */
const agentFlags = [
  '--target',
  '--target-namespace',
  '--agent-namespace',
  '--agent-log-level',
  '--agent-image',
  '--agent-ttl',
  '--agent-startup-timeout',
  '--ephemeral-container',
  '--accept-invalid-certificates',
  '--no-telemetry',
  '--disable-version-check',
  '--context',
];

/** Adds `-f` and the flags that a command without a program has a use for. `more`: long names of others. */
export function addAgentFlags(command: Command, more: readonly string[] = []): Command {
  const wanted = [...agentFlags, ...more];
  const all = configFlags.map((flag) => new Option(flag.flags).long ?? '');
  return addConfigFlags(
    command,
    all.filter((long) => !wanted.includes(long)),
  );
}

/** What the given flags set, from commander's parsed command. */
export function flagOverrides(command: Command): Override[] {
  const overrides: Override[] = [];
  for (const flag of configFlags) {
    const option = new Option(flag.flags);
    const name = option.attributeName();
    if (command.getOptionValueSource(name) !== 'cli') continue;
    const given: unknown = command.getOptionValue(name);
    const value = takesValue(option) && given !== true ? given : flag.value;
    for (const path of flag.paths) {
      overrides.push({path: parsePath(path), value, origin: option.long ?? ''});
    }
  }
  return overrides;
}
