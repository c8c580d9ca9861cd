/**
 * The completion script for zsh: a function for each command, on top of _arguments (zshcompsys(1)).
 */

import {type CommandNode, flatten, type OptionNode, quote, spellings} from './tree.ts';

const functionName = (node: CommandNode): string => `_${node.path.join('_').replaceAll('-', '_')}`;

/** A description inside of an _arguments specification. */
const describe = (text: string): string => text.replaceAll(/[[\]:\\]/g, '\\$&');

function valueSpec({value, choices}: OptionNode): string {
  switch (value) {
    case 'none':
      return '';
    case 'choices':
      return `:value:(${choices.join(' ')})`;
    case 'target':
      return ':target:_mirrord_targets';
    case 'file':
      return ':file:_files';
    case 'any':
      return ':value: ';
  }
}

/** One specification for each spelling; each rules out the others. */
function optionSpecs(option: OptionNode): string[] {
  const all = spellings(option);
  // `--target=VALUE` and `--target VALUE` are the same.
  const tail = (word: string): string =>
    option.value !== 'none' && word.startsWith('--') ? '=' : '';
  return all.map((word) =>
    quote(
      `(${all.join(' ')})${word}${tail(word)}[${describe(option.description)}]${valueSpec(option)}`,
    ),
  );
}

function argumentSpecs(node: CommandNode): string[] {
  if (node.runsProgram) {
    return [quote('(-)1:program: _command_names -e'), quote('*::arguments: _normal')];
  }
  if (node.subcommands.length > 0) return [quote('1: :->command'), quote('*:: :->rest')];
  return node.choices.length > 0 ? [quote(`1:value:(${node.choices.join(' ')})`)] : [];
}

function subcommands(node: CommandNode): string[] {
  if (node.subcommands.length === 0) return [];
  const list = node.subcommands.map((child) =>
    quote(`${child.path.at(-1)}:${describe(child.description)}`),
  );
  const cases = node.subcommands.map(
    (child) => `        ${quote(child.path.at(-1) ?? '')}) ${functionName(child)} ;;`,
  );
  return [
    '  case $state in',
    `    command) local -a commands=(${list.join(' ')}); _describe command commands ;;`,
    '    rest)',
    '      case $line[1] in',
    ...cases,
    '      esac ;;',
    '  esac',
  ];
}

function commandFunction(node: CommandNode): string {
  const specs = [...node.options.flatMap(optionSpecs), ...argumentSpecs(node)];
  return [
    `${functionName(node)}() {`,
    '  local state line context',
    '  local -A opt_args',
    `  _arguments -C -S \\\n    ${specs.join(' \\\n    ')}`,
    ...subcommands(node),
    '}',
  ].join('\n');
}

/** Makes the script. It may be a file `_mirrord` in $fpath, or be evaluated. */
export function zshCompletion(tree: CommandNode): string {
  return `#compdef mirrord
# zsh completion for mirrord: source <(mirrord completions zsh)

_mirrord_targets() {
  local -a targets
  targets=(\${=\${"$(command mirrord ls 2>/dev/null </dev/null)"//[\\[\\]\\",]/ }})
  compadd -a targets
}

${flatten(tree).map(commandFunction).join('\n\n')}

if [ "$funcstack[1]" = _mirrord ]; then
  _mirrord "$@"
else
  compdef _mirrord mirrord
fi
`;
}
