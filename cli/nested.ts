/**
 * A program in the context of a pod must not start another such program: its network is the pod's, so
 * the second one's would be made of the first's. As in mirrord, MIRRORD_RESOLVED_CONFIG tells a program
 * (and its debugger's helpers) that it is inside; the value is what is known of the run, base64 of JSON.
 */

import {MirrordError} from '../layer/errors.ts';

const variable = 'MIRRORD_RESOLVED_CONFIG';

/** Throws MIRRORD_NESTED where mirrord itself was started inside. */
export function refuseNested(env: NodeJS.ProcessEnv): void {
  if (env[variable] === undefined) return;
  throw new MirrordError(
    'MIRRORD_NESTED',
    `this is already the context of a pod (${variable} is set): mirrord exec can't run in itself`,
    {hint: `leave that shell first, or, if it is none of mirrord's: unset ${variable}`},
  );
}

/** The variable that marks the program, to be added to its environment. */
export function markInside(config: object): Record<string, string> {
  return {[variable]: Buffer.from(JSON.stringify(config)).toString('base64')};
}
