/**
 * Writes what is published of the configuration's schema: docs/configuration.md and docs/mirrord-schema.json.
 *
 *     node scripts/config-reference.ts && npm run fix
 */

import {mkdirSync, writeFileSync} from 'node:fs';
import {jsonSchemaText} from '../cli/config/json-schema.ts';
import {referencePage} from '../cli/config/reference.ts';

const docs = new URL('../docs/', import.meta.url);
mkdirSync(docs, {recursive: true});
writeFileSync(new URL('configuration.md', docs), referencePage());
writeFileSync(new URL('mirrord-schema.json', docs), jsonSchemaText());
