import {createSocket, type Socket} from 'node:dgram';
import {once} from 'node:events';
import test, {type ExecutionContext} from 'ava';

/** A socket whose port may be shared, by SO_REUSEADDR. */
async function bind(t: ExecutionContext, port = 0, address?: string): Promise<Socket> {
  const socket = createSocket({type: 'udp4', reuseAddr: true});
  socket.bind(port, address);
  await once(socket, 'listening');
  t.teardown(() => socket.close());
  return socket;
}

async function connectTo(socket: Socket, port: number): Promise<void> {
  socket.connect(port, '127.0.0.1');
  await once(socket, 'connect');
}

test('of two sockets at a port, the connected one gets what its peer sends and the other one the rest', async (t) => {
  const server = await bind(t, 0, '127.0.0.1');
  const stranger = await bind(t, 0, '127.0.0.1');
  const open = await bind(t);
  const {port} = open.address();
  const connected = await bind(t, port);
  await connectTo(connected, server.address().port);
  t.is(connected.address().port, port);
  const atOpen: string[] = [];
  const atConnected: string[] = [];
  open.on('message', (payload) => atOpen.push(`${payload}`));
  connected.on('message', (payload) => atConnected.push(`${payload}`));
  const heard = [once(connected, 'message'), once(open, 'message')];
  server.send('from the peer', port, '127.0.0.1');
  stranger.send('from a stranger', port, '127.0.0.1');
  await Promise.all(heard);
  t.deepEqual(atConnected, ['from the peer']);
  t.deepEqual(atOpen, ['from a stranger']);
});

test('what the connected socket sends comes from the shared port', async (t) => {
  const server = await bind(t, 0, '127.0.0.1');
  const open = await bind(t);
  const connected = await bind(t, open.address().port);
  await connectTo(connected, server.address().port);
  connected.send('x');
  const [, from] = await once(server, 'message');
  t.is(from.port, open.address().port);
});

test('a connected socket reports ECONNREFUSED of its peer, again and again, and stays usable', async (t) => {
  const open = await bind(t);
  const target = createSocket('udp4');
  target.bind(0, '127.0.0.1');
  await once(target, 'listening');
  const free = target.address().port;
  target.close();
  await once(target, 'close');
  const lonely = await bind(t, open.address().port);
  await connectTo(lonely, free);
  for (let round = 0; round < 2; round++) {
    const failed = once(lonely, 'error');
    lonely.send('x');
    const [error] = await failed.catch((reason: Error) => [reason]);
    t.is(error.code, 'ECONNREFUSED');
  }
});
