/**
 * What there is to complete, read from the command line's own definition: so that nothing is offered
 * that isn't there, and nothing is missing.
 */

import type {Argument, Command, Option} from 'commander';

/** What comes after an option: nothing, one of some words, a target of `mirrord ls`, a file, anything. */
export type ValueKind = 'none' | 'choices' | 'target' | 'file' | 'any';

export interface OptionNode {
  /** `-t`, without a value. */
  short: string | undefined;
  /** `--target`, without a value. */
  long: string | undefined;
  description: string;
  value: ValueKind;
  choices: readonly string[];
}

export interface CommandNode {
  /** The words that lead to it: `mirrord`, `demo`, `up`. */
  path: readonly string[];
  description: string;
  options: readonly OptionNode[];
  subcommands: readonly CommandNode[];
  /** The words that its argument may be. */
  choices: readonly string[];
  /** Its arguments are a program and the program's own arguments. */
  runsProgram: boolean;
}

function valueKind(option: Option): ValueKind {
  if (!option.required && !option.optional) return 'none';
  if (option.argChoices !== undefined) return 'choices';
  if (option.long === '--target') return 'target';
  return /[<[](path|file)[>\]]/.test(option.flags) ? 'file' : 'any';
}

function optionNode(option: Option): OptionNode {
  return {
    short: option.short,
    long: option.long,
    description: option.description,
    value: valueKind(option),
    choices: option.argChoices ?? [],
  };
}

/** Reads a command with all that is below it; what its help hides is left out. */
export function completionTree(command: Command, parents: readonly string[] = []): CommandNode {
  const help = command.createHelp();
  const path = [...parents, command.name()];
  const args: readonly Argument[] = command.registeredArguments;
  return {
    path,
    description: command.description(),
    options: help.visibleOptions(command).map(optionNode),
    subcommands: help.visibleCommands(command).map((child) => completionTree(child, path)),
    choices: args[0]?.argChoices ?? [],
    runsProgram: args.at(-1)?.variadic === true,
  };
}

/** A node and all below it, parents first. */
export function flatten(node: CommandNode): CommandNode[] {
  return [node, ...node.subcommands.flatMap(flatten)];
}

/** An option's spellings. */
export function spellings({short, long}: OptionNode): string[] {
  return [short, long].filter((text) => text !== undefined);
}

/** A word of POSIX shells (and fish), whatever is in it. */
export function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
