/**
 * Which unix sockets of the pod are wanted: regular expressions on their names. Pure.
 *
 * An abstract name is tried as it is and with the usual `@` in front.
 */

import {MirrordError} from '../errors.ts';
import {compilePattern} from '../pattern.ts';

export interface Selection {
  /** Whether a socket is wanted, by its path or abstract name (a zero byte, then the name). */
  isWanted(name: string): boolean;
  /** The paths among the expressions: whether they are there can be asked for. */
  readonly paths: readonly string[];
}

/** Longer ones can't be connected to (sun_path, without its final NUL), bytes. */
const pathBytes = 107;

/** The path that an expression is, if it is just one: `/run/a.sock`, `^/run/a\.sock$`. */
function literalPath(pattern: string): string | undefined {
  const path = pattern
    .replace(/^\^/, '')
    .replace(/\$$/, '')
    .replace(/\\([./-])/g, '$1');
  const isPath = /^\/[^*+?()[\]{}|\\^$]+$/.test(path) && Buffer.byteLength(path) <= pathBytes;
  return isPath ? path : undefined;
}

/** Compiles `feature.network.outgoing.unix_streams`. Throws MIRRORD_UNIX_PATTERN_INVALID. */
export function compileSelection(patterns: readonly string[]): Selection {
  const compiled = patterns.map((pattern) => {
    try {
      return compilePattern(pattern);
    } catch (cause) {
      throw new MirrordError(
        'MIRRORD_UNIX_PATTERN_INVALID',
        `"${pattern}" in feature.network.outgoing.unix_streams is no regular expression: ${(cause as Error).message}`,
        {hint: 'they are regular expressions on paths of sockets: ^/run/app/', cause},
      );
    }
  });
  const fits = (name: string): boolean => compiled.some((pattern) => pattern.test(name));
  return {
    isWanted(name) {
      if (!name.startsWith('\0')) return fits(name);
      const bare = name.slice(1).replace(/\0+$/, '');
      return fits(bare) || fits(`@${bare}`);
    },
    paths: patterns.map(literalPath).filter((path) => path !== undefined),
  };
}
