/**
 * Who uses the test cluster from the command line: root brings it up, but mirrord is an ordinary user's.
 * Under sudo that is the person who called it, with a kubeconfig of their own that goes with the cluster.
 * Otherwise, or if that person can't read this checkout, it is root.
 */

import {spawnSync} from 'node:child_process';
import {chmodSync, chownSync, copyFileSync, mkdirSync} from 'node:fs';
import {userInfo} from 'node:os';
import {dirname} from 'node:path';
import {fileURLToPath} from 'node:url';
import {kubeconfigPath, personalKubeconfigPath} from '../../test/cluster/node/place.ts';

const command = fileURLToPath(new URL('../../bin/mirrord', import.meta.url));

export interface ClusterUser {
  /** What to put before a command line, so that it runs as the user; nothing for root. */
  prefix: readonly string[];
  /** Variables that mirrord needs, and those that are the user's own. */
  variables: Readonly<Record<string, string>>;
}

/** Whom sudo was called by, if it was. */
function caller(): {uid: number; gid: number; name: string} | undefined {
  const {SUDO_UID, SUDO_GID, SUDO_USER} = process.env;
  const [uid, gid] = [Number(SUDO_UID), Number(SUDO_GID)];
  if (SUDO_USER === undefined || !(uid > 0) || !(gid >= 0)) return undefined;
  return {uid, gid, name: SUDO_USER};
}

function homeOf(name: string): string {
  const {stdout} = spawnSync('getent', ['passwd', name], {encoding: 'utf8'});
  return (stdout ?? '').split(':')[5] ?? '/';
}

/** Prepares the user of a cluster that is up. `image` is the agent's. */
export function clusterUser(image: string): ClusterUser {
  const common = {MIRRORD_AGENT_IMAGE: image};
  const root = {prefix: [], variables: {...common, KUBECONFIG: kubeconfigPath()}};
  const person = userInfo().uid === 0 ? caller() : undefined;
  if (person === undefined) return root;
  const {uid, gid, name} = person;
  const prefix = ['setpriv', `--reuid=${uid}`, `--regid=${gid}`, '--init-groups', '--'];
  const [program = '', ...args] = [...prefix, 'test', '-r', command];
  if (spawnSync(program, args).status !== 0) return root;
  const kubeconfig = personalKubeconfigPath(uid);
  mkdirSync(dirname(kubeconfig), {recursive: true, mode: 0o755});
  copyFileSync(kubeconfigPath(), kubeconfig);
  chmodSync(kubeconfig, 0o600);
  chownSync(kubeconfig, uid, gid);
  const own = {HOME: homeOf(name), USER: name, LOGNAME: name};
  return {prefix, variables: {...common, ...own, KUBECONFIG: kubeconfig}};
}
