/**
 * Finds the main process of a container by the container's id.
 *
 * Theory of operation. Every runtime puts a container into control groups whose names hold its id:
 * `…/<id>`, `…/cri-containerd-<id>.scope`, `…/crio-<id>.scope`, `…/docker-<id>.scope`, under cgroup v1
 * and v2, with cgroupfs and with systemd. `/proc/PID/cgroup` shows them for every process that this
 * one can see, so no socket of a runtime is needed, nor a path of the node. A container holds more
 * than its main process: that one has started before all the others.
 */

import {readdir, readFile} from 'node:fs/promises';
import {readStartTime} from '../target/lifecycle.ts';

/** Files of /proc that are read at the same time; a node may have tens of thousands of processes. */
const BATCH = 128;

/** Returns the pid of the container's main process; undefined where this process can see none. */
export async function findContainerProcess(id: string): Promise<number | undefined> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  let main: {readonly pid: number; readonly startTime: bigint} | undefined;
  for (let first = 0; first < pids.length; first += BATCH) {
    for (const found of await Promise.all(
      pids.slice(first, first + BATCH).map((pid) => look(pid, id)),
    )) {
      if (found === undefined) continue;
      const isEarlier = main === undefined || found.startTime < main.startTime;
      // Started within one tick: the kernel counts pids upwards.
      const isTie = found.startTime === main?.startTime && found.pid < main.pid;
      if (isEarlier || isTie) main = found;
    }
  }
  return main?.pid;
}

async function look(
  pid: number,
  id: string,
): Promise<{pid: number; startTime: bigint} | undefined> {
  try {
    if (!isInContainer(await readFile(`/proc/${pid}/cgroup`, 'latin1'), id)) return undefined;
  } catch {
    return undefined; // it has ended since
  }
  const startTime = await readStartTime(pid);
  return startTime === undefined ? undefined : {pid, startTime: BigInt(startTime)};
}

/** Whether a `/proc/PID/cgroup` ("hierarchy:controllers:path" lines) names the container. */
export function isInContainer(cgroup: string, id: string): boolean {
  return cgroup.split('\n').some((line) =>
    line
      .slice(line.indexOf(':', line.indexOf(':') + 1) + 1)
      .split(/[/:]/)
      .some((name) => {
        const inner = name.endsWith('.scope') ? name.slice(0, -'.scope'.length) : name;
        if (inner === id) return true;
        // CRI-O's monitor of the container is on the node's side, in a group named after it.
        return inner.endsWith(`-${id}`) && !inner.endsWith(`-conmon-${id}`);
      }),
  );
}
