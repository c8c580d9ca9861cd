/**
 * What is known of a node before an agent is sent there. Reading Nodes, and the pods of other namespaces, are
 * rights that most people lack: without them nothing is known, and the scheduler will say.
 */

import type {V1Node, V1Pod} from '@kubernetes/client-node';
import {MirrordError} from '../../../layer/errors.ts';
import type {KubeClient, ListPage} from '../client.ts';
import {hasStatus} from '../errors.ts';
import {apiPath, resources} from '../path.ts';

/** vcluster shows Nodes that its scheduler knows under other names. */
const fakeNode = 'vcluster.loft.sh/fake-node';

/** Returns the Node; undefined where it can't be read. */
export async function readNode(client: KubeClient, name: string): Promise<V1Node | undefined> {
  try {
    return await client.get<V1Node>(apiPath(resources.nodes, {name}));
  } catch (error) {
    if (hasStatus(error, 403, 404)) return undefined;
    throw error;
  }
}

/** Whether a pod can be pinned to the node by its name. */
export function mayPinTo(node: V1Node | undefined): boolean {
  return node?.metadata?.labels?.[fakeNode] !== 'true';
}

/** `agent.check_out_of_pods`. Throws MIRRORD_NODE_FULL. */
export async function checkRoom(client: KubeClient, node: V1Node): Promise<void> {
  const name = node.metadata?.name ?? '';
  const most = Number(node.status?.allocatable?.['pods'] ?? Number.POSITIVE_INFINITY);
  let count = 0;
  try {
    const pages = client.pages<ListPage & {items: V1Pod[]}>({
      path: apiPath(resources.pods),
      query: {
        fieldSelector: `spec.nodeName=${name},status.phase!=Succeeded,status.phase!=Failed`,
      },
      accept: 'application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io',
    });
    for await (const {items} of pages) count += items.length;
  } catch (error) {
    if (hasStatus(error, 403)) return;
    throw error;
  }
  if (count < most) return;
  throw new MirrordError(
    'MIRRORD_NODE_FULL',
    `node ${name} has no room for the agent's pod: it runs ${count} of at most ${most} pods`,
    {
      hint: "agent.ephemeral runs the agent in the target's pod instead; agent.check_out_of_pods: false skips this check",
    },
  );
}
