/** When the pod is held to be gone: in a network namespace of an ordinary user's. */

import {execFile} from 'node:child_process';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';
import test from 'ava';
import {needing, programs} from '../../helpers/needs.ts';

const program = fileURLToPath(new URL('gone.ts', import.meta.url));
const here = needing(test, programs('ip'));

here('a pod whose interface is down is there; it is gone with its interface', async (t) => {
  const node = [process.execPath, '--disable-warning=ExperimentalWarning', program];
  const argv = ['-Urn', ...node];
  const {stdout} = await promisify(execFile)('unshare', argv, {timeout: 30_000});
  t.deepEqual(JSON.parse(stdout), ['without a carrier', 'down', 'gone']);
});
