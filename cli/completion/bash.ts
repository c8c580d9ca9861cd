/**
 * The completion script for bash. It needs no bash-completion, but uses it for the program's arguments.
 *
 * One function walks over the words before the cursor, as the command line will: the node of the tree
 * it is at changes with each subcommand, values of options are skipped, and where the program begins,
 * the rest is that program's own.
 */

import {type CommandNode, flatten, type OptionNode, quote, spellings} from './tree.ts';

const key = (node: CommandNode): string => node.path.join(' ');

/** The cases that move from a node to the next, by `node:word`. */
function moves(node: CommandNode): string[] {
  const values = node.options.filter(({value}) => value !== 'none').flatMap(spellings);
  return [
    ...node.subcommands.map(
      (child) =>
        `      ${quote(`${key(node)}:${child.path.at(-1)}`)}) node=${quote(key(child))} ;;`,
    ),
    ...(values.length === 0
      ? []
      : [
          `      ${values.map((word) => quote(`${key(node)}:${word}`)).join('|')}) _mirrord_skip_value ;;`,
        ]),
    ...(node.runsProgram
      ? [
          `      ${quote(`${key(node)}:--`)}) _mirrord_program $((i + 1)); return ;;`,
          `      ${quote(`${key(node)}:`)}[!-]*) _mirrord_program "$i"; return ;;`,
        ]
      : []),
  ];
}

/** What an option's value is completed to: a command that fills COMPREPLY. */
function completeValue({value, choices}: OptionNode): string {
  switch (value) {
    case 'choices':
      return `_mirrord_words ${quote(choices.join(' '))}`;
    case 'target':
      return '_mirrord_words "$(_mirrord_targets)"';
    case 'file':
      return 'compopt -o filenames; COMPREPLY=($(compgen -f -- "$current"))';
    default:
      return ':';
  }
}

function valueCases(node: CommandNode): string[] {
  return node.options
    .filter(({value}) => value !== 'none')
    .map((option) => {
      const words = spellings(option).map((word) => quote(`${key(node)}:${word}`));
      return `    ${words.join('|')}) ${completeValue(option)}; return ;;`;
    });
}

/** What is offered where a word begins anew at a node. */
function offers(node: CommandNode): string[] {
  const options = node.options.flatMap(spellings).join(' ');
  const words = [...node.subcommands.map(({path}) => path.at(-1)), ...node.choices].join(' ');
  const rest = node.runsProgram
    ? '_mirrord_program "$COMP_CWORD"'
    : `_mirrord_words ${quote(words)}`;
  return [
    `    ${quote(`${key(node)}:`)}-*) _mirrord_words ${quote(options)} ;;`,
    `    ${quote(`${key(node)}:`)}*) ${rest} ;;`,
  ];
}

/** Makes the script. */
export function bashCompletion(tree: CommandNode): string {
  const nodes = flatten(tree);
  return `# bash completion for mirrord: eval "$(mirrord completions bash)"

_mirrord_words() {
  COMPREPLY=($(compgen -W "$1" -- "$current"))
}

_mirrord_targets() {
  command "\${COMP_WORDS[0]}" ls 2>/dev/null </dev/null | tr '[],"' '    '
}

# bash makes three words of --target=VALUE.
_mirrord_skip_value() {
  ((i++))
  [[ \${COMP_WORDS[i]} != = ]] || ((i++))
}

# The program that mirrord runs begins at word $1.
_mirrord_program() {
  if declare -F _command_offset >/dev/null; then
    _command_offset "$1"
  elif ((COMP_CWORD == $1)); then
    COMPREPLY=($(compgen -c -- "$current"))
  else
    compopt -o filenames
    COMPREPLY=($(compgen -f -- "$current"))
  fi
}

_mirrord() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD - 1]} node=mirrord i
  COMPREPLY=()
  [[ $previous != = ]] || previous=\${COMP_WORDS[COMP_CWORD - 2]}
  [[ $current != = ]] || current=
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "$node:\${COMP_WORDS[i]}" in
${nodes.flatMap(moves).join('\n')}
    esac
  done
  case "$node:$previous" in
${nodes.flatMap(valueCases).join('\n')}
  esac
  case "$node:$current" in
${nodes.flatMap(offers).join('\n')}
  esac
}

complete -F _mirrord mirrord
`;
}
