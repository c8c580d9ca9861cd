/**
 * From a target of this machine to the process that stands for it.
 */

import {readFileSync} from 'node:fs';
import {MirrordError} from '../layer/errors.ts';
import type {Target} from './config/target.ts';
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

/** A target of this machine. */
export type LocalTarget = Extract<Target, {kind: 'demo' | 'process'}>;

/** Finds the process; starts the embedded cluster if it is needed. Throws MIRRORD_TARGET_NOT_FOUND. */
export async function resolveLocalTarget(target: LocalTarget): Promise<number> {
  if (target.kind === 'process') {
    checkProcess(target.pid);
    return target.pid;
  }
  await ensureDemo();
  return (await resolveDemoTarget(target.name)).pid;
}
