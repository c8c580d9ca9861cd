/**
 * What mirrord has of whoever called it, as `bin/mirrord` noted it. It is taken out of the environment, which others
 * get of us, and out of what they inherit.
 */

import {type Inherited, keepDescriptors, parseInherited} from '../layer/sandbox/inherited.ts';

export const inherited: Inherited = parseInherited(process.env['MIRRORD_INHERITED']);
delete process.env['MIRRORD_INHERITED'];
keepDescriptors(inherited);
