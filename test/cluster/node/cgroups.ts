/**
 * The control groups of the node: its limits, and the register of its processes.
 *
 * Every process of the node is in the group of the cluster's name: init.sh and the components in `system`,
 * the pods in `kubepods`, which the kubelet makes. A process can't leave it by forking, so whoever is
 * listed there is the node's, however the node came to its end: `killAll` needs no list of its own.
 *
 * With cgroups(7) version 1 there is such a group in each hierarchy, with version 2 one.
 */

import {existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {waitUntil} from './process.ts';

const mount = '/sys/fs/cgroup';
/** What kubelet and runc need. The kernel may have more. */
const controllers = ['cpu', 'cpuacct', 'cpuset', 'memory', 'devices', 'freezer', 'blkio', 'pids'];
const killLimitMs = 30_000;

function isVersion2(): boolean {
  return existsSync(join(mount, 'cgroup.controllers'));
}

function hierarchies(): string[] {
  if (isVersion2()) return [mount];
  return [...controllers, 'systemd'].map((name) => join(mount, name)).filter(existsSync);
}

/** The directories of the group of this name. */
export function groupsOf(name: string): string[] {
  return hierarchies().map((hierarchy) => join(hierarchy, name));
}

/** A cpuset of version 1 is empty at first, and then takes no process. */
function inheritCpuset(parent: string, group: string): void {
  for (const file of ['cpuset.cpus', 'cpuset.mems']) {
    if (!existsSync(join(group, file))) continue;
    writeFileSync(join(group, file), readFileSync(join(parent, file)));
  }
}

/** Makes the groups, with the subgroup `system`. */
export function makeGroups(name: string): void {
  for (const hierarchy of hierarchies()) {
    const [group, system] = [join(hierarchy, name), join(hierarchy, name, 'system')];
    mkdirSync(system, {recursive: true});
    if (isVersion2()) {
      const all = readFileSync(join(hierarchy, 'cgroup.controllers'), 'latin1').trim().split(' ');
      for (const each of [hierarchy, group]) {
        writeFileSync(join(each, 'cgroup.subtree_control'), all.map((one) => `+${one}`).join(' '));
      }
    } else if (hierarchy.endsWith('/cpuset')) {
      inheritCpuset(hierarchy, group);
      inheritCpuset(group, system);
    }
  }
}

function subgroups(group: string): string[] {
  try {
    return readdirSync(group, {withFileTypes: true})
      .filter((entry) => entry.isDirectory())
      .map((entry) => join(group, entry.name));
  } catch {
    return []; // it is gone
  }
}

function processesIn(group: string): number[] {
  let own: string;
  try {
    own = readFileSync(join(group, 'cgroup.procs'), 'latin1');
  } catch {
    return [];
  }
  return [...own.split('\n').filter(Boolean).map(Number), ...subgroups(group).flatMap(processesIn)];
}

/** The processes of the node. */
export function processesOf(name: string): number[] {
  return [...new Set(groupsOf(name).flatMap(processesIn))];
}

/** What the node's processes use, bytes: their memory and the page cache that they filled. */
export function memoryOf(name: string): {rssBytes: number; totalBytes: number} | undefined {
  const group = isVersion2() ? join(mount, name) : join(mount, 'memory', name);
  try {
    const stat = readFileSync(join(group, 'memory.stat'), 'latin1');
    const usage = isVersion2() ? 'memory.current' : 'memory.usage_in_bytes';
    return {
      rssBytes: Number(/^(?:total_rss|anon) (\d+)$/m.exec(stat)?.[1] ?? 0),
      totalBytes: Number(readFileSync(join(group, usage), 'latin1')),
    };
  } catch {
    return undefined;
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended meanwhile.
  }
}

/** Ends all processes of the node at once, and waits until there are none. */
export async function killAll(name: string): Promise<void> {
  await waitUntil('the processes of the node have ended', killLimitMs, () => {
    const left = processesOf(name);
    left.forEach(kill);
    return left.length === 0;
  });
}

function remove(group: string): void {
  subgroups(group).forEach(remove);
  rmdirSync(group);
}

/** Removes the groups, which have no processes any more. */
export async function removeGroups(name: string): Promise<void> {
  await waitUntil('the control groups of the node are gone', killLimitMs, () => {
    for (const group of groupsOf(name).filter(existsSync)) {
      try {
        remove(group);
      } catch (error) {
        // A process that has ended keeps its group until the kernel has cleared it away.
        if ((error as NodeJS.ErrnoException).code !== 'EBUSY') throw error;
      }
    }
    return !groupsOf(name).some(existsSync);
  });
}
