/**
 * Hands the API server's port out to the machine.
 *
 * The node's network has no link to the machine's. But a socket belongs to the namespace that it was made
 * in, whoever holds it: `handOutPort` makes a listening one on the machine's loopback, and gives it to a
 * process in the node's network namespace, this same file, which connects what it accepts with the API server.
 */

import {spawn} from 'node:child_process';
import {once} from 'node:events';
import {type AddressInfo, connect, createServer, type Server, type Socket} from 'node:net';
import {fileURLToPath} from 'node:url';
import {resetSocket} from '../../../sockets/reset.ts';
import {ClusterError} from './process.ts';

const self = fileURLToPath(import.meta.url);
const apiServerPort = 6443;

function forward(client: Socket): void {
  const server = connect({port: apiServerPort, host: '127.0.0.1', allowHalfOpen: true});
  for (const [from, to] of [
    [client, server],
    [server, client],
  ] as const) {
    from.setNoDelay(true);
    from.pipe(to);
    from.once('error', () => resetSocket(to));
  }
}

/**
 * Starts the process, whose network namespace is that of process `pid`. `adopt` gets its number before it has anything
 * to stay for: should we be killed until then, it ends by itself. Returns the port on 127.0.0.1. Throws `ClusterError` if
 * it ends at once.
 */
export async function handOutPort(
  pid: number,
  log: number,
  adopt: (pid: number) => void,
): Promise<number> {
  const listener = createServer().listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const {port} = listener.address() as AddressInfo;
  const child = spawn('nsenter', [`--net=/proc/${pid}/ns/net`, '--', process.execPath, self], {
    cwd: '/',
    detached: true,
    stdio: ['ignore', log, log, 'ipc'],
  });
  const taken = once(child, 'disconnect');
  const ended = once(child, 'exit').then(([status]) => {
    throw new ClusterError(`the process for the API server's port ended with ${String(status)}`);
  });
  if (child.pid !== undefined) adopt(child.pid);
  child.send('listener', listener);
  await Promise.race([taken, ended]);
  listener.close();
  child.unref();
  // From here on its end is nothing to wait for.
  ended.catch(() => undefined);
  return port;
}

if (process.argv[1] === self) {
  process.once('message', (_message, listener) => {
    createServer({allowHalfOpen: true}, forward).listen(listener as Server);
    process.disconnect();
  });
}
