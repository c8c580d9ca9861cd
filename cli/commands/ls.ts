/**
 * `mirrord ls`: what `-t` may name, as JSON, in the forms that mirrord's IDE plugins read. Lists what a
 * Kubernetes cluster has, if there is a kubeconfig, then the pods of the embedded cluster if it runs; it isn't
 * started for this.
 */

import {Command, Option} from 'commander';
import {MirrordError} from '../../layer/errors.ts';
import {addConfigFlags, configFlags, flagOverrides} from '../config/flags.ts';
import {prepareConfig} from '../config/prepare.ts';
import type {ResolvedConfig} from '../config/schema/root.ts';
import {demoStatus} from '../demo/client.ts';
import {aliasOf} from '../flag-alias.ts';
import {loadKubeClient} from '../kube/client.ts';
import {hasKubeconfig} from '../kube/kubeconfig.ts';
import {
  type ListedTarget,
  listedKinds,
  listKubeTargets,
  listNamespaces,
} from '../kube/list/targets.ts';
import {kubeClientOptions} from '../kube/options.ts';
import {progressMode} from '../progress.ts';

/** Where the pods of the embedded cluster are. */
const demoNamespace = 'default';

/** The flags of `exec` that say where to look. */
const takenFlags = ['--target-namespace', '--context', '--accept-invalid-certificates'];

/** Whoever completes a line or opens an IDE's list doesn't wait longer for a cluster. */
const listTimeoutMs = 15_000;

interface LsFlags {
  type?: readonly string[];
  configFile?: string | true;
}

/** The kinds that MIRRORD_LS_TARGET_TYPES asks for: a JSON array. Kinds of a newer mirrord are none of ours. */
function typesFromEnvironment(text: string | undefined): readonly string[] | undefined {
  if (text === undefined) return undefined;
  try {
    const types: unknown = JSON.parse(text);
    return Array.isArray(types) ? types.map(String) : undefined;
  } catch {
    return undefined; // as mirrord: then it asks for nothing in particular
  }
}

/** What to list, as flags, variables and the configuration file together say. */
interface Wanted {
  types: readonly string[];
  /** Undefined for that of the kubeconfig's context. */
  namespace: string | undefined;
  config: ResolvedConfig;
}

/** What there is, in one cluster or in both. */
interface Listing {
  targets: ListedTarget[];
  currentNamespace: string;
  namespaces: string[];
}

const isRich = process.env['MIRRORD_LS_RICH_OUTPUT'] === 'true';

/** What the embedded cluster has. */
async function listDemo({types, namespace = demoNamespace}: Wanted): Promise<Listing | undefined> {
  const status = await demoStatus();
  if (status === undefined) return undefined;
  const isHere = types.includes('pod') && namespace === demoNamespace;
  const others = status.services.map((service) => service.namespace);
  return {
    targets: (isHere ? status.pods : []).map(({name, ready, pid}) => ({
      path: `demo/${name}`,
      available: ready && pid !== 0,
    })),
    currentNamespace: namespace,
    namespaces: [demoNamespace, ...others],
  };
}

/** What a Kubernetes cluster has. Loads the client only if there is a kubeconfig, or one is asked for. */
async function listKube({types, namespace, config}: Wanted): Promise<Listing | undefined> {
  const options = kubeClientOptions(config);
  const isAskedFor = config.kubeconfig !== undefined || config.kube_context !== undefined;
  if (!isAskedFor && !hasKubeconfig(options)) return undefined;
  const {retry: _, ...once} = options; // whoever waits for a list would rather hear of the failure
  using client = await loadKubeClient(once);
  const signal = AbortSignal.timeout(listTimeoutMs);
  const from = namespace ?? client.namespace;
  const [targets, namespaces] = await Promise.all([
    listKubeTargets(client, {namespace: from, kinds: types, signal}),
    isRich ? listNamespaces(client, from, signal) : [],
  ]);
  return {targets, currentNamespace: from, namespaces};
}

/** Throws MIRRORD_CONFIG_NOT_FOUND and MIRRORD_CONFIG_INVALID, which `exec` would later. */
function readWanted({type, configFile}: LsFlags, command: Command): Wanted {
  const {config} = prepareConfig({
    file: configFile,
    env: process.env,
    flags: flagOverrides(command),
    ide: true, // the target is still to be chosen
  });
  return {
    types: type ?? typesFromEnvironment(process.env['MIRRORD_LS_TARGET_TYPES']) ?? listedKinds,
    namespace: config.target.namespace,
    config,
  };
}

/** The cluster's failure matters less where there is something to list in any case. */
async function listAll(wanted: Wanted): Promise<Listing[]> {
  const [kube, demo] = await Promise.allSettled([listKube(wanted), listDemo(wanted)]);
  if (demo.status === 'rejected') throw demo.reason;
  if (kube.status === 'rejected') {
    if (demo.value === undefined || !(kube.reason instanceof MirrordError)) throw kube.reason;
    process.stderr.write(`mirrord: ${kube.reason.message}\n`);
  }
  const listings = [kube.status === 'fulfilled' ? kube.value : undefined, demo.value];
  return listings.filter((listing) => listing !== undefined);
}

async function ls(flags: LsFlags, command: Command): Promise<void> {
  const wanted = readWanted(flags, command);
  const listings = await listAll(wanted);
  if (listings.length === 0 && process.stderr.isTTY && progressMode() === 'standard') {
    process.stderr.write(
      'mirrord: there is no kubeconfig, and the demo cluster is not running (mirrord demo up)\n',
    );
  }
  const targets = listings.flatMap((listing) => listing.targets);
  const namespaces = listings.flatMap((listing) => listing.namespaces);
  const current = listings[0]?.currentNamespace ?? wanted.namespace ?? demoNamespace;
  const output = isRich
    ? {
        targets,
        current_namespace: current,
        namespaces: namespaces.length === 0 ? [demoNamespace] : [...new Set(namespaces)],
      }
    : targets.filter(({available}) => available).map(({path}) => path);
  process.stdout.write(`${JSON.stringify(output)}\n`);
}

/** The command, for `main.ts`. */
export function lsCommand(): Command {
  const type = new Option('-t, --type <type...>', 'only targets of this kind (repeatable)');
  const others = configFlags.map((flag) => new Option(flag.flags).long ?? '');
  const command = new Command('ls')
    .description('list the targets that -t may name')
    .addOption(new Option('-o, --output <format>', 'how').choices(['json']).default('json'))
    .addOption(type.choices([...listedKinds]))
    .addOption(aliasOf(type, '--target-type'))
    .helpOption('-h, --help', 'show this help')
    .addHelpText(
      'after',
      `
The answer is a JSON array of targets with a ready pod, of the kubeconfig's cluster and of the embedded one.
Nothing is started for it: see mirrord demo up.

Environment (for IDE plugins):
  MIRRORD_LS_RICH_OUTPUT=true        an object: targets with their availability, namespaces
  MIRRORD_LS_TARGET_TYPES='["pod"]'  as --type

Examples:
  $ mirrord ls
  ["demo/gateway","demo/orders-0"]
  $ mirrord ls -f mirrord.json -n default                  as the IDE plugins ask
  $ mirrord exec -t "$(mirrord ls | jq -r '.[0]')" -- env`,
    )
    .action(ls);
  addConfigFlags(
    command,
    others.filter((long) => !takenFlags.includes(long)),
  );
  const namespace = command.options.find(({long}) => long === '--target-namespace');
  return namespace === undefined ? command : command.addOption(aliasOf(namespace, '--namespace'));
}
