/**
 * Run in a network namespace of its own (`peers.test.ts`): an agent is killed while calls of gRPC come over one connection, every third
 * of them a program's. Writes what became of them as JSON.
 */

import {fileURLToPath} from 'node:url';
import {python} from '../../../helpers/needs.ts';
import {start, stealing} from './killing.ts';

const calls = fileURLToPath(new URL('programs/grpc-calls.py', import.meta.url));

async function serve(name: string): Promise<number> {
  return Number(await start(python, calls, 'serve', name).line());
}

const port = await serve('application');
const mine = {kind: 'header', pattern: {source: '^x-who: me$', flags: 'i'}} as const;
const agent = await stealing(port, mine, await serve('program'));
const client = start(python, calls, 'call', `${port}`);
await client.line(); // some are over, and others under way
await agent.kill();
client.say('it was killed');
process.stdout.write(await client.line());
process.exit();
