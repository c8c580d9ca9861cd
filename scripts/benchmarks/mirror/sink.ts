/** What mirrors, of bytes: listens at as many ports of its choice as the argument says, prints them as JSON, and reads. */

import {once} from 'node:events';
import {type AddressInfo, createServer} from 'node:net';

const ports: number[] = [];
while (ports.length < Number(process.argv[2])) {
  const server = createServer((socket) => socket.on('error', () => undefined).resume());
  await once(server.listen(0, '127.0.0.1'), 'listening');
  ports.push((server.address() as AddressInfo).port);
}
process.stdout.write(`${JSON.stringify(ports)}\n`);
