import {once} from 'node:events';
import {readlinkSync} from 'node:fs';
import {connect, createServer, type Socket} from 'node:net';
import test, {type ExecutionContext} from 'ava';
import {resetSocket} from '../../sockets/reset.ts';
import {until} from '../helpers/until.ts';

/** What of Node's is not in its types. */
interface WithHandle {
  readonly _handle: {readonly fd: number};
}

/** A connection, and which descriptor it has. */
async function dial(t: ExecutionContext): Promise<{own: Socket; peer: Socket; isOpen(): boolean}> {
  const server = createServer({allowHalfOpen: true}).listen(0, '127.0.0.1');
  t.teardown(() => server.close());
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' ? (address?.port ?? 0) : 0;
  const accepted = once(server, 'connection');
  const own = connect({port, host: '127.0.0.1', allowHalfOpen: true});
  await once(own, 'connect');
  own.on('error', () => undefined);
  const [peer] = await accepted;
  peer.on('error', () => undefined);
  t.teardown(() => peer.destroy());
  const {fd} = (own as unknown as WithHandle)._handle;
  const path = `/proc/self/fd/${fd}`;
  const name = readlinkSync(path);
  const isOpen = (): boolean => {
    try {
      return readlinkSync(path) === name;
    } catch {
      return false;
    }
  };
  return {own, peer, isOpen};
}

test('a connection ends by a reset', async (t) => {
  const {own, peer, isOpen} = await dial(t);
  const failed = once(peer, 'error');
  peer.resume();
  resetSocket(own);
  t.like((await failed)[0], {code: 'ECONNRESET'});
  await until(() => !isOpen());
  t.pass();
});

test('one whose FIN is on its way is closed, too, and its descriptor with it', async (t) => {
  for (const bytes of [0, 10, 10_000_000]) {
    const {own, isOpen} = await dial(t);
    own.write(Buffer.alloc(bytes));
    own.end();
    const closed = once(own, 'close');
    resetSocket(own);
    await closed;
    await until(() => !isOpen());
  }
  t.pass();
});
