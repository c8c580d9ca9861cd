/** Connections that stand when their port is stolen, in a network namespace of their own. */

import {execFile} from 'node:child_process';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';
import test from 'ava';

const program = fileURLToPath(new URL('standing.ts', import.meta.url));

test('what stands is cut if that is asked for, and else told; never what the agent or a proxy has', async (t) => {
  const script = 'ip link set lo up && exec "$0" --disable-warning=ExperimentalWarning "$@"';
  const argv = ['-Urnpf', '--kill-child', 'sh', '-c', script, process.execPath, program];
  const {stdout} = await promisify(execFile)('unshare', argv, {timeout: 60_000});
  t.deepEqual(JSON.parse(stdout), {
    cutByMirror: 0,
    cut: 3,
    alive: ['ofProxy', 'kept', 'passed'],
    again: true,
    told: [
      JSON.stringify({
        event: 'warning',
        code: 'STANDING_CONNECTIONS',
        message:
          '1 connection to port PORT stood before it was stolen, and stays with the target until closed (agent.flush_connections: true cuts them)',
      }),
    ],
  });
});
