/**
 * Targets: what `-t` names, and the process of this machine that stands for it.
 */

import {readFileSync} from 'node:fs';
import {MirrordError} from '../layer/errors.ts';
import {ensureDemo, resolveDemoTarget} from './demo/client.ts';

/** What a person asked for, parsed. */
export type Target = {kind: 'demo'; pod: string} | {kind: 'process'; pid: number};

const forms = 'demo/<pod> (the embedded cluster; see: mirrord demo status) or process/<pid>';

/** Parses the target syntax. Throws MIRRORD_TARGET_INVALID. */
export function parseTarget(text: string): Target {
  const [kind = '', name = '', ...rest] = text.split('/');
  if (rest.length === 0 && name !== '') {
    if (kind === 'demo' && /^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/.test(name)) return {kind, pod: name};
    if (kind === 'process' && /^[1-9]\d{0,9}$/.test(name)) return {kind, pid: Number(name)};
  }
  throw new MirrordError('MIRRORD_TARGET_INVALID', `"${text}" is not a target`, {
    hint: `a target is ${forms}`,
  });
}

/** Checks that a process is there. Throws MIRRORD_TARGET_NOT_FOUND. */
export function checkProcess(pid: number): void {
  try {
    readFileSync(`/proc/${pid}/stat`);
  } catch (cause) {
    throw new MirrordError('MIRRORD_TARGET_NOT_FOUND', `there is no process ${pid}`, {
      hint: 'a container\'s process: docker inspect -f "{{.State.Pid}}" NAME, or podman likewise',
      cause,
    });
  }
}

/** Finds the process that stands for the target; starts the embedded cluster if it is needed. */
export async function resolveTarget(target: Target): Promise<number> {
  if (target.kind === 'process') {
    checkProcess(target.pid);
    return target.pid;
  }
  await ensureDemo();
  return (await resolveDemoTarget(target.pod)).pid;
}
