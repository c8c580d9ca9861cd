/**
 * `mirrord files explain PATH`: where a program would read and write a path, and which rule says so.
 */

import {resolve} from 'node:path';
import {Command, Option} from 'commander';
import {MirrordError} from '../../layer/errors.ts';
import {type Decision, filePolicy, normalise} from '../../layer/files/policy.ts';
import {findVolumeMounts} from '../agents.ts';
import {addConfigFlags, flagOverrides} from '../config/flags.ts';
import {prepareConfig} from '../config/prepare.ts';
import type {ResolvedConfig} from '../config/schema/root.ts';
import type {Target} from '../config/target.ts';
import {filesOptions, surroundings} from '../file-options.ts';

const places: Readonly<Record<Decision['place'], string>> = {
  local: 'on this machine',
  remote: 'in the target',
  'not-found': 'nowhere',
};

interface ExplainFlags {
  configFile?: string | true;
  program?: string;
  output?: 'json';
}

/** Where volumes are mounted in the target, if it can be asked; says so if not. */
async function knownMounts(target: Target, config: ResolvedConfig): Promise<readonly string[]> {
  const isAsked = config.feature.magic.auto_mount && config.feature.fs.mode !== 'local';
  if (!isAsked) return [];
  try {
    return await findVolumeMounts(target, config);
  } catch (error) {
    if (!(error instanceof MirrordError)) throw error;
    process.stderr.write(`mirrord: the target's volumes are not known: ${error.message}\n`);
    return [];
  }
}

async function explain(paths: string[], flags: ExplainFlags, command: Command): Promise<void> {
  const {config, target} = prepareConfig({
    file: flags.configFile,
    env: process.env,
    flags: flagOverrides(command),
  });
  const around = surroundings(flags.program, process.env);
  const {rules} = filesOptions(config, around, {
    // As long as no target is named, the rules are those for any.
    isTargetless: target.kind === 'targetless' && config.target.path !== undefined,
    volumeMounts: await knownMounts(target, config),
  });
  const policy = filePolicy(rules, around);
  const answers = paths.map((given) => {
    const path = normalise(resolve(given));
    const mapped = policy.map(path);
    return {
      path,
      ...(mapped !== path && {mapped}),
      read: policy.decide(mapped, 'read'),
      write: policy.decide(mapped, 'write'),
    };
  });
  if (flags.output === 'json') {
    process.stdout.write(`${JSON.stringify(answers, null, 2)}\n`);
    return;
  }
  for (const {path, mapped, read, write} of answers) {
    const lines = [
      path,
      ...(mapped === undefined ? [] : [`  is       ${mapped} (feature.fs.mapping)`]),
      `  read     ${places[read.place]} (${read.rule})`,
      `  written  ${places[write.place]} (${write.rule})`,
    ];
    process.stdout.write(`${lines.join('\n')}\n`);
  }
}

function explainCommand(): Command {
  const command = new Command('explain')
    .description('say where a program would read and write a path, and by which rule')
    .argument('<path...>', 'paths; links are not followed')
    .option('--program <file>', 'the program, whose own file is local')
    .addOption(new Option('-o, --output <format>', 'how').choices(['json']))
    .addHelpText(
      'after',
      `
Examples:
  $ mirrord files explain -f mirrord.json /etc/myapp/app.conf
  $ mirrord files explain --fs-mode write /data ~/.kube/config
  $ mirrord files explain --program ./server -o json ./server`,
    )
    .action(explain);
  return addConfigFlags(command);
}

/** The command, for `main.ts`. */
export function filesCommand(): Command {
  return new Command('files')
    .description("which files are the target's")
    .helpOption('-h, --help', 'show this help')
    .addCommand(explainCommand());
}
