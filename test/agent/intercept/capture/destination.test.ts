/** Where connections end, as the kernel tells: in a network namespace of an ordinary user's. */

import {execFile} from 'node:child_process';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';
import test from 'ava';
import {needing, programs} from '../../../helpers/needs.ts';

const program = fileURLToPath(new URL('destinations.ts', import.meta.url));
const here = needing(test, programs('ip', 'nft'));

/** What `destinations.ts` saw. */
interface Seen {
  readonly canTell: boolean;
  readonly seen: unknown[];
  readonly own: boolean[];
  readonly others: boolean[];
  readonly isSomebodyElses: string;
}

async function run(): Promise<Seen> {
  const node = [process.execPath, '--disable-warning=ExperimentalWarning', program];
  const argv = ['-Urn', ...node];
  const {stdout} = await promisify(execFile)('unshare', argv, {timeout: 30_000});
  return JSON.parse(stdout) as Seen;
}

here(
  'a connection is the application’s, or led elsewhere, or an agent’s; of both families',
  async (t) => {
    const socket = {isTransparent: false, isOver: false};
    const {seen, own, others, ...rest} = await run();
    t.deepEqual(rest, {canTell: true, isSomebodyElses: 'elsewhere'});
    t.deepEqual(own, [true, true, true, true]);
    t.deepEqual(others, [false, false, false, false, false]);
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
