/**
 * From a target to the process of this machine that stands for it.
 */

import {readFileSync} from 'node:fs';
import {MirrordError} from '../layer/errors.ts';
import {formatTarget, type Target} from './config/target.ts';
import {ensureDemo, resolveDemoTarget} from './demo/client.ts';

/** Checks that a process is there. Throws MIRRORD_TARGET_NOT_FOUND. */
function checkProcess(pid: number): void {
  try {
    readFileSync(`/proc/${pid}/stat`);
  } catch (cause) {
    throw new MirrordError('MIRRORD_TARGET_NOT_FOUND', `there is no process ${pid}`, {
      hint: 'a container\'s process: docker inspect -f "{{.State.Pid}}" NAME, or podman likewise',
      cause,
    });
  }
}

/**
 * Finds the process; starts the embedded cluster if it is needed. Throws MIRRORD_TARGET_NOT_FOUND, and
 * MIRRORD_TARGET_UNSUPPORTED for what only a Kubernetes cluster can resolve.
 */
export async function resolveTarget(target: Target): Promise<number> {
  switch (target.kind) {
    case 'process':
      checkProcess(target.pid);
      return target.pid;
    case 'demo':
      await ensureDemo();
      return (await resolveDemoTarget(target.name)).pid;
    case 'targetless':
      throw new MirrordError('MIRRORD_TARGET_MISSING', 'no target is given', {
        hint: 'say whose context the program is to have: -t demo/gateway, or -t process/<pid>; see: mirrord ls',
      });
    default:
      throw new MirrordError(
        'MIRRORD_TARGET_UNSUPPORTED',
        `${formatTarget(target)} needs a Kubernetes cluster, which mirrord can't use yet`,
        {hint: 'today: demo/<pod> (the embedded cluster; see: mirrord ls) and process/<pid>'},
      );
  }
}
