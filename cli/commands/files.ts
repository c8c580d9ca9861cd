/**
 * `mirrord files explain PATH`: where a program would read and write a path, and which rule says so.
 */

import {resolve} from 'node:path';
import {Command, Option} from 'commander';
import {type Decision, filePolicy, normalise} from '../../layer/files/policy.ts';
import {addConfigFlags, flagOverrides} from '../config/flags.ts';
import {prepareConfig} from '../config/prepare.ts';
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

async function explain(paths: string[], flags: ExplainFlags, command: Command): Promise<void> {
  const {config, target} = prepareConfig({
    file: flags.configFile,
    env: process.env,
    flags: flagOverrides(command),
  });
  const around = surroundings(flags.program, process.env);
  const {rules} = filesOptions(config, around, target.kind === 'targetless');
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
