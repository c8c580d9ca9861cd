/**
 * Ends the cluster and removes all of it, also one that is only half there.
 *
 * The node's mounts and interfaces are in its own namespaces, and go with its last process; so what is left
 * to remove are processes, control groups and files.
 */

import {rmSync} from 'node:fs';
import {killAll, removeGroups} from './cgroups.ts';
import {clusterName, inCluster, personalDirectory} from './place.ts';

/** Ends the cluster if there is one. Throws `ClusterError` if something can't be ended. */
export async function down(): Promise<void> {
  await killAll(clusterName());
  await removeGroups(clusterName());
  rmSync(inCluster(), {recursive: true, force: true});
  rmSync(personalDirectory(), {recursive: true, force: true});
}
