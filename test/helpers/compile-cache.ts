/**
 * What Node has compiled of mirrord, for programs that tests start with an environment of their own: half of a start of mirrord,
 * or of an agent, is taking the types out of TypeScript and compiling it. `scripts/test` has one place for all test files, in
 * which each user's is kept apart; without it nothing is kept.
 */
export const compileCache: {NODE_COMPILE_CACHE?: string} =
  process.env['NODE_COMPILE_CACHE'] === undefined
    ? {}
    : {NODE_COMPILE_CACHE: process.env['NODE_COMPILE_CACHE']};
