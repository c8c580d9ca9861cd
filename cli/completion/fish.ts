/**
 * The completion script for fish: a `complete` for each word, under the condition that the command line
 * is at its command.
 */

import {type CommandNode, flatten, type OptionNode, spellings} from './tree.ts';

/** In single quotes fish knows two escapes. */
const quote = (text: string): string => `'${text.replaceAll(/[\\']/g, '\\$&')}'`;

const key = (node: CommandNode): string => node.path.join(' ');

function value({value: kind, choices}: OptionNode): string {
  switch (kind) {
    case 'none':
      return '';
    case 'choices':
      return ` -x -a ${quote(choices.join(' '))}`;
    case 'target':
      return ` -x -a '(__mirrord_targets)'`;
    case 'file':
      return ' -r -F';
    case 'any':
      return ' -x';
  }
}

function completions(node: CommandNode): string[] {
  const at = `complete -c mirrord -n ${quote(`__mirrord_at ${key(node)}`)}`;
  const options = node.options.map((option) => {
    const short = option.short === undefined ? '' : ` -s ${option.short.slice(1)}`;
    const long = option.long === undefined ? '' : ` -l ${option.long.slice(2)}`;
    return `${at}${short}${long}${value(option)} -d ${quote(option.description)}`;
  });
  const words = node.subcommands.map(
    (child) => `${at} -x -a ${quote(child.path.at(-1) ?? '')} -d ${quote(child.description)}`,
  );
  const choices = node.choices.length === 0 ? [] : [`${at} -x -a ${quote(node.choices.join(' '))}`];
  const withValue = node.options.filter((option) => option.value !== 'none').flatMap(spellings);
  const skip = `--fcs-skip=${node.path.length} ${withValue.join(' ')}`;
  const program = node.runsProgram
    ? [
        `complete -c mirrord -n ${quote(`__mirrord_in ${key(node)}`)} -x -a ${quote(`(__fish_complete_subcommand ${skip})`)}`,
      ]
    : [];
  return [...options, ...words, ...choices, ...program];
}

/** The branches of the walk over the words before the cursor. */
function moves(node: CommandNode): string[] {
  const values = node.options.filter((option) => option.value !== 'none').flatMap(spellings);
  return [
    ...node.subcommands.map((child) => `      case ${quote(key(child))}; set node $node $word`),
    ...(values.length === 0
      ? []
      : [
          `      case ${values.map((word) => quote(`${key(node)} ${word}`)).join(' ')}; set skip 1`,
        ]),
    ...(node.runsProgram
      ? [`      case ${quote(`${key(node)} --`)}; set node $node program; break`]
      : []),
  ];
}

/** Makes the script. */
export function fishCompletion(tree: CommandNode): string {
  const nodes = flatten(tree);
  return `# fish completion for mirrord: mirrord completions fish | source

function __mirrord_targets
  command mirrord ls 2>/dev/null </dev/null | string match -ra '[^\\[\\]",]+'
end

# The words that lead to the command at the cursor; "program" after the program began.
function __mirrord_node
  set -l node mirrord
  set -l skip 0
  set -l words (commandline -opc)
  for word in $words[2..]
    if test $skip -eq 1
      set skip 0
      continue
    end
    switch "$node $word"
${nodes.flatMap(moves).join('\n')}
      case '* -*'
      case '*'; set node $node program; break
    end
  end
  string join ' ' $node
end

function __mirrord_at
  test (__mirrord_node) = "$argv"
end

function __mirrord_in
  string match -qr "^$argv( program)?\\$" (__mirrord_node)
end

complete -c mirrord -f
${nodes.flatMap(completions).join('\n')}
`;
}
