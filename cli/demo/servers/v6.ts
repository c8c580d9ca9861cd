/**
 * A server that speaks IPv6 only.
 */

import {jsonServer} from './answer.ts';

jsonServer((seen) => seen).listen({port: 8080, host: '::', ipv6Only: true});
