/** Everything about the target that does not change while it runs. */

import {readFile} from 'node:fs/promises';
import {hostname} from 'node:os';
import type {TargetInfo} from '../../tunnel/target.ts';
import {readDefaultRoutes, readInterfaces, readLocalPortRange} from './network.ts';
import {readRootFile} from './root-files.ts';

const FILES = ['/etc/resolv.conf', '/etc/hosts', '/etc/hostname'];

/**
 * Looks at the target process, from inside its network and UTS namespaces. Rejects with the errno
 * of reading `/proc/PID/environ` when that is not allowed or the process is gone.
 */
export async function readTargetInfo(pid: number): Promise<TargetInfo> {
  const [environ, interfaces, routes, localPortRange] = await Promise.all([
    readFile(`/proc/${pid}/environ`),
    readInterfaces(),
    readDefaultRoutes(),
    readLocalPortRange(),
  ]);
  const files: Record<string, Uint8Array> = {};
  for (const path of FILES) {
    const content = await readRootFile(`/proc/${pid}/root`, path);
    if (content !== undefined) files[path] = content;
  }
  return {
    pid,
    hostName: hostname(),
    environment: parseEnviron(environ),
    interfaces,
    defaultRoute4: routes.ipv4,
    defaultRoute6: routes.ipv6,
    files,
    localPortRange,
  };
}

/** Reads `NAME=value` strings that each end with a zero byte. Of two with a name, the first counts. */
export function parseEnviron(bytes: Uint8Array): Record<string, string> {
  const environment: Record<string, string> = {};
  for (const entry of new TextDecoder().decode(bytes).split('\0')) {
    const equals = entry.indexOf('=');
    if (equals <= 0) continue;
    const name = entry.slice(0, equals);
    // `__proto__` is a name that a process may have, but no decoder lets it through.
    if (name === '__proto__' || Object.hasOwn(environment, name)) continue;
    environment[name] = entry.slice(equals + 1);
  }
  return environment;
}
