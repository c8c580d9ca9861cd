/**
 * Run in a network namespace of its own (`peers.test.ts`): an application on some ports, and agents that are processes, in
 * the scenario of the argument. Writes what became of it as JSON.
 */

import {leading} from './leading.ts';
import {lingering} from './lingering.ts';
import {HTTP, HTTP2, TCP} from './scenario.ts';
import {serveEcho, serveHttp, serveHttp2} from './servers.ts';
import {sharing} from './sharing.ts';
import {strangers} from './strangers.ts';

await serveHttp('application', HTTP);
await serveHttp2('application', HTTP2);
await serveEcho('application', TCP);

const scenarios = {...sharing, ...leading, ...lingering, ...strangers};
const [, , name = ''] = process.argv;
process.stdout.write(JSON.stringify(await scenarios[name]?.()));
process.exit();
