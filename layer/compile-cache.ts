/**
 * What Node has compiled of mirrord is kept beside the C code's build, so that it is not stripped of its types and
 * compiled again at each start, which is half of what a start costs.
 *
 * Only where that directory belongs to whoever runs it: nothing is kept elsewhere, and `sudo` leaves nothing of root's in a
 * user's. Another place is said by Node's own variable, NODE_COMPILE_CACHE.
 */

import {statSync} from 'node:fs';
import {enableCompileCache} from 'node:module';
import {fileURLToPath} from 'node:url';

const build = fileURLToPath(new URL('../build/', import.meta.url));

/** Undefined: nothing is kept. */
export const compileCacheDirectory: string | undefined =
  process.env['NODE_COMPILE_CACHE'] ?? (isOurs(build) ? `${build}node` : undefined);

/** Has what is loaded from now on taken from there, and kept there when the process ends. */
export function useCompileCache(): void {
  if (compileCacheDirectory !== undefined) enableCompileCache(compileCacheDirectory);
}

function isOurs(directory: string): boolean {
  return statSync(directory, {throwIfNoEntry: false})?.uid === process.geteuid?.();
}
