/**
 * The node of the demo cluster: one process that is its kubelet, its CoreDNS and its kube-proxy.
 *
 * `client.ts` starts it in namespaces of its own, with all rights there; it makes the network, starts
 * the pods and serves the control socket until it is told to end, by a request or by SIGTERM. When it is
 * killed, the kernel closes the control sockets of the pods' launchers, and these end their pods.
 *
 *   supervisor.ts DIRECTORY NFT
 */

import {once} from 'node:events';
import {chmodSync, rmSync} from 'node:fs';
import {node} from './addressing.ts';
import {Cluster} from './cluster.ts';
import {controlServer, type Request} from './control.ts';
import {DnsServer} from './dns-server.ts';
import {keepLogsShort} from './logs.ts';
import {NodeNetwork} from './node-network.ts';
import {pods} from './pods.ts';
import {demoPaths} from './state.ts';

const [directory, nft = ''] = process.argv.slice(2);
const paths = demoPaths(directory);
const ending = Promise.withResolvers<void>();
const started = Promise.withResolvers<void>();
// Whoever waits for it sees the failure; if nobody does, it still isn't unhandled.
started.promise.catch(() => undefined);
const watchers = new Set<(text: string) => void>();

using _logs = keepLogsShort(paths.logs);
using network = new NodeNetwork(nft);
using dns = new DnsServer();
const cluster = new Cluster({network, dns, paths});

/** Starts all pods at the same time. */
async function start(): Promise<void> {
  await dns.listen(node.dns, 53);
  let ready = 0;
  await Promise.all(
    pods.map(async (pod) => {
      await cluster.add(pod);
      ready++;
      for (const tell of watchers) tell(`${ready} of ${pods.length} pods are ready`);
    }),
  );
}

async function handle(request: Request, progress: (text: string) => void): Promise<unknown> {
  switch (request.operation) {
    case 'status':
      return {...cluster.status(), pid: process.pid};
    case 'wait':
      watchers.add(progress);
      await started.promise.finally(() => watchers.delete(progress));
      await cluster.whenReady();
      return {...cluster.status(), pid: process.pid};
    case 'run':
      await started.promise;
      return cluster.run(request.pod);
    case 'stop':
      await cluster.remove(request.name);
      return {};
    case 'down':
      // The answer goes out before the end begins.
      setImmediate(ending.resolve);
      return {};
    default:
      throw new Error('no such operation');
  }
}

const server = controlServer(handle);
rmSync(paths.socket, {force: true});
server.listen(paths.socket);
await once(server, 'listening');
chmodSync(paths.socket, 0o600);
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, ending.resolve);

start().then(started.resolve, (error: Error) => {
  console.error(error);
  started.reject(error);
  // Those who wait get the reason first.
  setImmediate(ending.resolve);
});

await ending.promise;
// New clients find nobody from here on.
server.close();
rmSync(paths.socket, {force: true});
await cluster[Symbol.asyncDispose]();
// A client that still waits must not hold us.
process.exit();
