/**
 * The orders service: HTTP on the pod's IPv4 address only, not even on its loopback.
 */

import {readFileSync} from 'node:fs';
import {jsonServer} from './answer.ts';

const config: unknown = JSON.parse(readFileSync('/app/config.json', 'utf8'));

jsonServer((seen) => ({...seen, config})).listen(8080, process.env['POD_IP']);
