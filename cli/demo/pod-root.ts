/**
 * The root file tree of a pod, made by launcher commands in the pod's own mount namespace.
 *
 * It is a tmpfs, so that it is gone with its last process. Onto it go bind mounts of this machine's
 * programs and libraries, read-only, and of the kernel's file systems; then the pod's own files; then it
 * becomes the root (pivot_root(2)). A `host` root has all of this machine's top-level directories
 * instead, with /tmp and /data of its own, for programs that are only installed here (a redis, a
 * postgres).
 */

import {existsSync, lstatSync, readdirSync, readlinkSync} from 'node:fs';
import {dirname} from 'node:path';
import {fileURLToPath} from 'node:url';
import type {Launcher} from '../../layer/sandbox/launcher.ts';
import {containerFiles, networkFiles} from './pod-content.ts';
import {type PodSpec, podNode, podServers} from './pods.ts';

/** Where programs and libraries are; on a merged-/usr system all but the first are links. */
const programTrees = ['/usr', '/bin', '/sbin', '/lib', '/lib32', '/lib64', '/libx32'];
const kernelTrees = ['/proc', '/sys', '/dev'];
/** Of this machine's /etc, what programs need to start: links of Debian's alternatives, ld.so(8)'s cache. */
const neededOfEtc = ['/etc/alternatives', '/etc/ld.so.cache'];
const ownDirectories = ['/root', '/run', '/var/log', '/app/node_modules'];

const servers = fileURLToPath(new URL('servers', import.meta.url));
/** The one library that the servers need. */
const websocketLibrary = dirname(fileURLToPath(import.meta.resolve('ws')));

/** Shows a file, a directory or a link of this machine in the tree at `root`. */
function show(
  launcher: Launcher,
  root: string,
  source: string,
  option: 'ro' | 'rw',
  target = source,
): void {
  if (!existsSync(source)) return;
  const status = lstatSync(source);
  launcher.command('mkdir', root + dirname(target));
  if (status.isSymbolicLink()) {
    launcher.command('symlink', readlinkSync(source), root + target);
    return;
  }
  if (status.isDirectory()) launcher.command('mkdir', root + target);
  else launcher.command('write', root + target, '', '0644');
  launcher.command('bind', source, root + target, option);
}

function writeFiles(launcher: Launcher, files: Readonly<Record<string, string>>): void {
  for (const [path, content] of Object.entries(files)) {
    launcher.command('mkdir', dirname(path));
    launcher.command('write', path, content, '0644');
  }
}

function makeContainerRoot(launcher: Launcher, root: string, pod: PodSpec): void {
  for (const tree of [...programTrees, ...neededOfEtc]) show(launcher, root, tree, 'ro');
  for (const tree of kernelTrees) show(launcher, root, tree, 'rw');
  show(launcher, root, process.execPath, 'ro', podNode);
  show(launcher, root, servers, 'ro', podServers);
  for (const directory of ownDirectories) launcher.command('mkdir', root + directory);
  show(launcher, root, websocketLibrary, 'ro', '/app/node_modules/ws');
  launcher.command('mkdir', `${root}/tmp`);
  launcher.command('pivot', root);
  writeFiles(launcher, containerFiles(pod, process.getuid?.() ?? 0, process.getgid?.() ?? 0));
}

function makeHostRoot(launcher: Launcher, root: string, pod: PodSpec): void {
  const own = new Set(['tmp', 'data', 'lost+found']);
  const trees = readdirSync('/').filter((name) => !own.has(name));
  for (const name of trees) {
    const tree = `/${name}`;
    show(launcher, root, tree, kernelTrees.includes(tree) ? 'rw' : 'ro');
  }
  launcher.command('mkdir', `${root}/tmp`);
  launcher.command('mkdir', `${root}/data`);
  launcher.command('pivot', root);
  writeFiles(launcher, pod.files ?? {});
  // /etc is this machine's: the few files are covered by mounts, where there is something to cover.
  for (const [path, content] of Object.entries(networkFiles(pod))) {
    if (existsSync(path)) launcher.command('file', path, content);
  }
}

/**
 * Makes the pod's root and moves the launcher into it. `place` is an empty directory to build it on.
 * Throws `SystemError` with the call that failed.
 */
export function makePodRoot(launcher: Launcher, place: string, pod: PodSpec): void {
  launcher.command('tmpfs', place, 'mode=755');
  if (pod.root === 'container') makeContainerRoot(launcher, place, pod);
  else makeHostRoot(launcher, place, pod);
  try {
    launcher.command('netsysfs');
  } catch {
    // Not every kernel lets a user namespace mount a sysfs: /sys/class/net is then the node's.
  }
}
