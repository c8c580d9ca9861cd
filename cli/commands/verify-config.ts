/**
 * `mirrord verify-config`: checks a configuration and says the outcome as JSON.
 */

import {Command} from 'commander';
import {reportOn} from '../config/report.ts';

/** The command, for `main.ts`. It ends with 0 whatever the outcome: the JSON says it, as mirrord's does. */
export function verifyConfigCommand(): Command {
  return new Command('verify-config')
    .description('check a configuration file and print the outcome as JSON')
    .argument('<path>', 'the file, or - for standard input')
    .option('--ide', 'take a missing target as one that is chosen later')
    .option('--resolved', 'print the configuration with every default, too')
    .helpOption('-h, --help', 'show this help')
    .addHelpText(
      'after',
      `
Prints {"type": "Success", "config": {"path", "namespace"}, "warnings", "compatible_target_types"} or
{"type": "Fail", "errors"}. Errors and warnings begin with file:line:column where they have a place.`,
    )
    .action((file: string, {ide, resolved}: {ide?: true; resolved?: true}) => {
      const report = reportOn({file, env: process.env, ide: ide === true, resolved});
      process.stdout.write(`${JSON.stringify(report, undefined, 2)}\n`);
    });
}
