import {randomBytes} from 'node:crypto';
import {once} from 'node:events';
import {createConnection, createServer, type Socket} from 'node:net';
import test from 'ava';
import {streamOfSocket} from '../../layer/socket-stream.ts';

/** Both ends of a connection: one as a stream, and all that the other end receives until the first is closed. */
async function connection() {
  const server = createServer({allowHalfOpen: true}).listen(
    `\0mirrord-${randomBytes(8).toString('hex')}`,
  );
  await once(server, 'listening');
  const socket = createConnection({path: server.address() as string, allowHalfOpen: true});
  const [[peer]] = await Promise.all([once(server, 'connection'), once(socket, 'connect')]);
  server.close();
  const received = (peer as Socket).toArray().then((chunks) => {
    (peer as Socket).end();
    return Buffer.concat(chunks);
  });
  return {stream: streamOfSocket(socket, {}), received};
}

for (const length of [24, 2048, 2049, 100_000]) {
  test(`pieces of ${length} bytes are sent as they were, though their memory is used again in the same turn`, async (t) => {
    const {stream, received} = await connection();
    const memory = new Uint8Array(length);
    for (const value of [1, 2, 3]) stream.write(memory.fill(value));
    memory.fill(4);
    stream.end();
    const expected = [1, 2, 3].map((value) => Buffer.alloc(length, value));
    t.deepEqual(await received, Buffer.concat(expected));
  });
}
