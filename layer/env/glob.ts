/**
 * Globs on names of variables: `*` is any text, `?` any one character; everything else, and upper and
 * lower case, is taken as it is. Pure.
 */

/** Makes the test whether one of the globs fits a whole name. */
export function compileGlobs(globs: readonly string[]): (name: string) => boolean {
  const patterns = globs.map((glob) => {
    // Adjacent stars mean no more than one, and would take quadratic time.
    const pieces = glob.replaceAll(/\*+/g, '*').split(/([*?])/);
    const source = pieces.map((piece) =>
      piece === '*' ? '.*' : piece === '?' ? '.' : RegExp.escape(piece),
    );
    return new RegExp(`^${source.join('')}$`, 'su');
  });
  return (name) => patterns.some((pattern) => pattern.test(name));
}
