/**
 * The command line: parses it, runs the command, shows its error and ends with its status.
 */

import {chalkStderr} from 'chalk';
import {Command} from 'commander';
import {MirrordError} from '../layer/errors.ts';
import {completionsCommand} from './commands/completions.ts';
import {configCommand} from './commands/config.ts';
import {demoCommand} from './commands/demo.ts';
import {diagnoseCommand} from './commands/diagnose.ts';
import {dumpCommand} from './commands/dump.ts';
import {execCommand} from './commands/exec.ts';
import {filesCommand} from './commands/files.ts';
import {lsCommand} from './commands/ls.ts';
import {portForwardCommand} from './commands/port-forward.ts';
import {rbacCommand} from './commands/rbac.ts';
import {killCommand, sessionCommand} from './commands/session.ts';
import {verifyConfigCommand} from './commands/verify-config.ts';
import './inherited.ts';
import {reportError} from './report.ts';
import {version} from './version.ts';

const program = new Command('mirrord')
  .description('Run a local program as if it were inside a Kubernetes pod.')
  .version(`mirrord ${version}`, '-V, --version', 'show the version')
  .helpOption('-h, --help', 'show this help')
  .enablePositionalOptions()
  .addHelpText(
    'after',
    `
Examples:
  $ mirrord demo up                                      start the embedded demo cluster
  $ mirrord ls                                           whose context a program can have
  $ mirrord exec -t demo/gateway -- curl http://orders/  run curl as if in that pod
  $ mirrord exec -t demo/gateway -- bash                 a shell in the pod's context
  $ mirrord diagnose                                     what this machine lacks, if anything`,
  )
  .addCommand(execCommand())
  .addCommand(lsCommand())
  .addCommand(sessionCommand())
  .addCommand(killCommand(), {hidden: true})
  .addCommand(dumpCommand())
  .addCommand(portForwardCommand())
  .addCommand(filesCommand())
  .addCommand(demoCommand())
  .addCommand(diagnoseCommand())
  .addCommand(verifyConfigCommand())
  .addCommand(configCommand())
  .addCommand(rbacCommand())
  .addCommand(completionsCommand());

/** Errors look the same everywhere; commander passes settings on only to commands that it makes itself. */
function configure(command: Command, path: string): void {
  command.configureOutput({
    outputError: (text, write) =>
      write(`${chalkStderr.red('mirrord:')} ${text.replace(/^error: /, '')}`),
  });
  command.showHelpAfterError(`  → see: ${path} --help`);
  for (const child of command.commands) configure(child, `${path} ${child.name()}`);
}
configure(program, 'mirrord');

try {
  await program.parseAsync();
} catch (error) {
  reportError(error);
  process.exitCode = error instanceof MirrordError ? error.exitCode : 70; // EX_SOFTWARE
}
// Whatever still holds the loop (a timer, a pipe of a child) must not keep the caller waiting.
process.exit();
