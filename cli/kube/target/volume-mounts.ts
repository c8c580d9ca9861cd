/**
 * Where volumes are mounted in a target's container: what it reads there, the program should read as well
 * (`feature.magic.auto_mount`).
 */

import {posix} from 'node:path';
import {lastingContainers} from './containers.ts';
import type {KubeTarget} from './resolve.ts';

/** The absolute paths, each once; none without a target. */
export function volumeMounts(target: KubeTarget): string[] {
  if (target.podName === undefined) return [];
  const {pod, containerName} = target;
  const container = lastingContainers(pod).find(({name}) => name === containerName);
  const paths = (container?.volumeMounts ?? []).map(({mountPath}) => posix.join('/', mountPath));
  return [...new Set(paths.map((path) => path.replace(/(?<=.)\/$/, '')))].filter(
    (path) => path !== '/',
  );
}
