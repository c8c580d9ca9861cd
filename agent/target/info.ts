/** Everything about the target that does not change while it runs. */

import {readFile} from 'node:fs/promises';
import {hostname} from 'node:os';
import type {TargetInfo} from '../../tunnel/target.ts';
import {specifiedEnvironment} from '../cluster/specified-environment.ts';
import {readDefaultRoutes, readInterfaces, readLocalPortRange} from './network.ts';
import {readRootFile} from './root-files.ts';

const FILES = ['/etc/resolv.conf', '/etc/hosts', '/etc/hostname'];

/**
 * Looks at the target process, from inside its network and UTS namespaces. Rejects with the errno
 * of reading `/proc/PID/environ` when that is not allowed or the process is gone; but an agent in a
 * cluster then does with what the target's pod specifies, which it was given.
 */
export async function readTargetInfo(
  pid: number,
  {isHome, isInCluster}: {readonly isHome: boolean; readonly isInCluster: boolean},
): Promise<TargetInfo> {
  const [environment, interfaces, routes, localPortRange] = await Promise.all([
    readEnvironment(pid, isHome, isInCluster),
    readInterfaces(),
    readDefaultRoutes(),
    readLocalPortRange(),
  ]);
  const files: Record<string, Uint8Array> = {};
  for (const path of FILES) {
    let content = await readRootFile(`/proc/${pid}/root`, path);
    // These the kubelet makes for all containers of a pod alike.
    if (content === undefined && isHome) content = await readRootFile('/', path);
    if (content !== undefined) files[path] = content;
  }
  return {
    pid,
    hostName: hostname(),
    environment,
    interfaces,
    defaultRoute4: routes.ipv4,
    defaultRoute6: routes.ipv6,
    files,
    localPortRange,
  };
}

/**
 * The environment of the target's specification, as far as the agent was given it, under that of the
 * process: one that rewrites its title may have overwritten the latter.
 */
async function readEnvironment(
  pid: number,
  isHome: boolean,
  isInCluster: boolean,
): Promise<Record<string, string>> {
  const specified = specifiedEnvironment(process.env, isHome);
  // Without a target the process is this one, whose own environment is nobody's business.
  if (isHome && pid === process.pid) return specified;
  try {
    return {...specified, ...parseEnviron(await readFile(`/proc/${pid}/environ`))};
  } catch (error) {
    // An agent in a cluster is root without the right to pass over modes: what is another user's it may not open.
    // A pod that specifies nothing is no other case.
    const isRefused = (error as NodeJS.ErrnoException).code === 'EACCES';
    if (isHome || (isRefused && isInCluster)) return specified;
    throw error;
  }
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
