/**
 * `mirrord completions`: scripts for shells, made from the command line's own definition.
 */

import {Argument, Command} from 'commander';
import {bashCompletion} from '../completion/bash.ts';
import {fishCompletion} from '../completion/fish.ts';
import {completionTree} from '../completion/tree.ts';
import {zshCompletion} from '../completion/zsh.ts';

const scripts = {bash: bashCompletion, zsh: zshCompletion, fish: fishCompletion} as const;

/** The command, for `main.ts`; it completes whatever it has become part of. */
export function completionsCommand(): Command {
  return new Command('completions')
    .description('print a completion script for a shell')
    .addArgument(new Argument('<shell>', 'which').choices(Object.keys(scripts)))
    .helpOption('-h, --help', 'show this help')
    .addHelpText(
      'after',
      `
It completes commands, options, targets (by mirrord ls) and the program's own arguments.

Examples:
  $ echo 'eval "$(mirrord completions bash)"' >> ~/.bashrc
  $ echo 'source <(mirrord completions zsh)' >> ~/.zshrc
  $ mirrord completions fish > ~/.config/fish/completions/mirrord.fish`,
    )
    .action((shell: keyof typeof scripts, _: unknown, command: Command) => {
      process.stdout.write(scripts[shell](completionTree(command.parent ?? command)));
    });
}
