/** Where `bin/mirrord` begins: what comes after the first line is taken from what Node has compiled before. */

import {useCompileCache} from '../layer/compile-cache.ts';

useCompileCache();
await import('./command-line.ts');
