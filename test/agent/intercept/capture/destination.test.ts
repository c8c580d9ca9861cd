/** Where connections end, as the kernel tells: in a network namespace of an ordinary user's. */

import {execFile} from 'node:child_process';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';
import test from 'ava';
import {needing, programs} from '../../../helpers/needs.ts';

const program = fileURLToPath(new URL('destinations.ts', import.meta.url));
const here = needing(test, programs('ip', 'nft'));

async function run(): Promise<{seen: unknown[]; [key: string]: unknown}> {
  const node = [process.execPath, '--disable-warning=ExperimentalWarning', program];
  const argv = ['-Urn', ...node];
  const {stdout} = await promisify(execFile)('unshare', argv, {timeout: 30_000});
  return JSON.parse(stdout) as {seen: unknown[]};
}

here(
  'a connection is the application’s, or led elsewhere, or an agent’s; of both families',
  async (t) => {
    const socket = {isTransparent: false, isOver: false};
    const {seen, ...others} = await run();
    t.deepEqual(others, {canTell: true, isSomebodyElses: 'elsewhere'});
    const each = {
      untracked: 'undefined application',
      own: '8080 application',
      led: '8080 translated',
      behind: 'undefined application',
      byAgent: '4000 application',
      sockets: [socket, socket, null, null],
    };
    t.deepEqual(seen, [each, each]);
  },
);
