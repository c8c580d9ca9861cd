/**
 * `mirrord ls`: what `-t` may name, as JSON, in the forms that mirrord's IDE plugins read. Lists the pods
 * of the embedded cluster if it runs; it isn't started for this.
 */

import {Command, Option} from 'commander';
import {addConfigFlags, configFlags, flagOverrides} from '../config/flags.ts';
import {prepareConfig} from '../config/prepare.ts';
import {demoStatus} from '../demo/client.ts';
import type {DemoStatus} from '../demo/control.ts';
import {progressMode} from '../progress.ts';

/** mirrord's kinds of targets, in the order in which they are listed. */
const targetTypes = [
  'deployment',
  'rollout',
  'statefulset',
  'cronjob',
  'job',
  'service',
  'replicaset',
  'pod',
] as const;

/** Where the pods of the embedded cluster are. */
const demoNamespace = 'default';

interface LsFlags {
  type?: readonly string[];
  configFile?: string | true;
}

/** One target; `available` when a program could be run in its context right now. */
interface ListedTarget {
  path: string;
  available: boolean;
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
  namespace: string;
}

function listTargets(status: DemoStatus | undefined, {types, namespace}: Wanted): ListedTarget[] {
  if (!types.includes('pod') || namespace !== demoNamespace) return [];
  return (status?.pods ?? []).map(({name, ready, pid}) => ({
    path: `demo/${name}`,
    available: ready && pid !== 0,
  }));
}

/** The form that IDE plugins ask for by MIRRORD_LS_RICH_OUTPUT. */
function richOutput(
  targets: readonly ListedTarget[],
  status: DemoStatus | undefined,
  {namespace}: Wanted,
): object {
  const others = status?.services.map((service) => service.namespace) ?? [];
  const namespaces = [...new Set([demoNamespace, ...others])];
  return {targets, current_namespace: namespace, namespaces};
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
    types: type ?? typesFromEnvironment(process.env['MIRRORD_LS_TARGET_TYPES']) ?? targetTypes,
    namespace: config.target.namespace ?? demoNamespace,
  };
}

async function ls(flags: LsFlags, command: Command): Promise<void> {
  const wanted = readWanted(flags, command);
  const status = await demoStatus();
  if (status === undefined && process.stderr.isTTY && progressMode() === 'standard') {
    process.stderr.write('mirrord: the demo cluster is not running (mirrord demo up)\n');
  }
  const targets = listTargets(status, wanted);
  const output =
    process.env['MIRRORD_LS_RICH_OUTPUT'] === 'true'
      ? richOutput(targets, status, wanted)
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
    .addOption(type.choices([...targetTypes]))
    .helpOption('-h, --help', 'show this help')
    .addHelpText(
      'after',
      `
The answer is a JSON array of targets. Nothing is started for it: see mirrord demo up.

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
  return addConfigFlags(
    command,
    others.filter((long) => long !== '--target-namespace'),
  );
}
