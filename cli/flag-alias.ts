/** Another long name of a flag: mirrord's own, where ours differs. No help shows it. */

import {Option} from 'commander';

/** Returns the flag under another long name, for the same command. */
export function aliasOf(option: Option, long: `--${string}`): Option {
  const value = option.flags.split(' ').slice(-1).join('');
  const alias = new Option(`${long} ${value}`, option.description).hideHelp();
  if (option.argChoices !== undefined) alias.choices(option.argChoices);
  if (option.parseArg !== undefined) alias.argParser(option.parseArg);
  const name = option.attributeName();
  return Object.assign(alias, {attributeName: () => name});
}
