/**
 * What mirrord has of whoever called it, as `bin/mirrord` noted it. The notes are taken out of the environment, which
 * others get of us, and the descriptors out of what they inherit.
 */

import {
  type Inherited,
  keepDescriptors,
  parseEnvironment,
  parseInherited,
} from '../layer/sandbox/inherited.ts';

const notes = process.env['MIRRORD_INHERITED'];
const environment = process.env['MIRRORD_INHERITED_ENVIRONMENT'];

export const inherited: Inherited = parseInherited(notes);
keepDescriptors(inherited);

/** Makes the environment the caller's. */
function restoreEnvironment(text: string): void {
  const callers = parseEnvironment(text);
  for (const name of Object.keys(process.env)) if (!(name in callers)) delete process.env[name];
  Object.assign(process.env, callers);
}

if (environment !== undefined && environment !== '') restoreEnvironment(environment);
delete process.env['MIRRORD_INHERITED'];
delete process.env['MIRRORD_INHERITED_ENVIRONMENT'];
