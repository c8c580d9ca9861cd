/**
 * The branch that is checked out, for templates: read from git's own files, so that no git is needed.
 */

import {readFileSync} from 'node:fs';
import {dirname, join, resolve} from 'node:path';

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    return undefined; // not there, or not ours to read: then there is no branch to tell
  }
}

/** Where a working tree keeps HEAD: `.git` is a directory, or in a linked tree a file that names one. */
function headOf(tree: string): string | undefined {
  const head = read(join(tree, '.git', 'HEAD'));
  if (head !== undefined) return head;
  const linked = /^gitdir: (.+)$/.exec(read(join(tree, '.git')) ?? '')?.[1];
  return linked === undefined ? undefined : read(join(resolve(tree, linked), 'HEAD'));
}

/**
 * The branch of the working tree around a directory, or what MIRRORD_BRANCH_NAME says; undefined outside of
 * any and when no branch is checked out.
 */
export function gitBranch(
  env: Readonly<Record<string, string | undefined>>,
  directory: string,
): string | undefined {
  const told = env['MIRRORD_BRANCH_NAME'];
  if (told !== undefined && told !== '') return told;
  for (let tree = resolve(directory); ; tree = dirname(tree)) {
    const head = headOf(tree);
    if (head !== undefined) return /^ref: refs\/heads\/(.+)$/.exec(head)?.[1];
    if (tree === dirname(tree)) return undefined;
  }
}
