import {spawn} from 'node:child_process';
import {once} from 'node:events';
import {connect, type Socket} from 'node:net';
import test, {type ExecutionContext} from 'ava';
import {type Accepted, type ListeningEvents, listen} from '../../sockets/listening.ts';
import {until} from '../helpers/until.ts';

/** More than are accepted in a turn, and than JavaScript is told of in one call. */
const MANY = 300;

function open(
  t: ExecutionContext,
  onAccepted: ListeningEvents['onAccepted'],
): (host?: string) => Socket {
  const listening = listen(60_000, {onAccepted, onFailed: (error) => t.fail(String(error))});
  t.teardown(() => listening.close());
  return (host = '127.0.0.1') => {
    const socket = connect({host, port: listening.port, allowHalfOpen: true});
    socket.on('error', () => undefined);
    t.teardown(() => socket.destroy());
    return socket;
  };
}

/** Says everything back, and ends when the other side does. */
function echo({socket}: Accepted): void {
  socket.handler = {
    onData: (bytes) => socket.writeLent(bytes),
    onEnd: () => socket.end(),
    onClose: () => undefined,
  };
  socket.readBytes = 65_536;
}

test('what a client says at once is heard, and of many each one’s own', async (t) => {
  const dial = open(t, echo);
  const clients = Array.from({length: MANY}, () => dial());
  for (const [at, client] of clients.entries()) client.end(`from ${at}`);
  const answers = await Promise.all(
    clients.map(async (client) => Buffer.concat(await client.toArray()).toString()),
  );
  t.deepEqual(
    answers,
    clients.map((_, at) => `from ${at}`),
  );
});

test('a peer is told by its own address, whichever family the listener has', async (t) => {
  const peers: Accepted['peer'][] = [];
  const dial = open(t, (accepted) => {
    peers.push(accepted.peer);
    accepted.socket.destroy();
  });
  for (const host of ['127.0.0.1', '::1']) {
    const client = dial(host);
    await once(client, 'connect');
    const {localPort} = client;
    await until(() => peers.length > 0);
    const peer = peers.pop();
    t.is(peer?.port, localPort);
    t.is(peer?.address.length, host === '::1' ? 16 : 4);
    t.is(peer?.address.at(-1), 1);
  }
});

test('one that nobody reads loses nothing until somebody does', async (t) => {
  const all: Accepted[] = [];
  const dial = open(t, (accepted) => all.push(accepted));
  const client = dial();
  client.end('hello');
  await until(() => all.length > 0);
  await new Promise((resolve) => setImmediate(resolve));
  for (const accepted of all) echo(accepted);
  t.is(Buffer.concat(await client.toArray()).toString(), 'hello');
});

test('who has accepted it hears when it is closed, and its client of a reset', async (t) => {
  const closed = Promise.withResolvers<void>();
  const dial = open(t, ({socket}) => {
    socket.onClosed = closed.resolve;
    socket.destroy(true);
  });
  const [error] = (await once(dial(), 'error')) as [NodeJS.ErrnoException];
  t.is(error.code, 'ECONNRESET');
  await t.notThrowsAsync(closed.promise);
});

test('urgent data holds nothing up', async (t) => {
  const all: Accepted[] = [];
  const listening = listen(60_000, {
    onAccepted: (accepted) => all.push(accepted),
    onFailed: (error) => t.fail(String(error)),
  });
  t.teardown(() => listening.close());
  const sender = `
import socket
s = socket.create_connection(('127.0.0.1', ${listening.port}))
s.send(b'before')
s.send(b'!', socket.MSG_OOB)
s.send(b'behind')
print('sent', flush=True)
s.recv(1)
`;
  const child = spawn('/usr/bin/python3', ['-c', sender]);
  t.teardown(() => child.kill());
  await once(child.stdout, 'data');
  await until(() => all.length === 1);
  const [{socket}] = all as [Accepted];
  let heard = '';
  socket.handler = {
    onData(bytes) {
      heard += Buffer.from(bytes).toString();
    },
    onEnd: () => undefined,
    onClose: () => undefined,
  };
  socket.readBytes = 65_536;
  await until(() => heard === 'beforebehind');
  socket.destroy();
  t.pass();
});

/** A program that keeps what it accepts until it is told to let go. */
const program = `
import {listen} from './sockets/listening.ts';
const kept = new Set();
const {port} = listen(60_000, {
  onAccepted({socket}) {
    kept.add(socket);
    console.log('accepted');
  },
  onFailed: (error) => console.log(error.code),
});
console.log(port);
process.stdin.on('data', () => {
  for (const socket of kept) socket.destroy();
  kept.clear();
});
process.stdin.on('end', () => process.exit());
`;

test('without descriptors others are let go, and taken again when there are some', async (t) => {
  const node = [process.execPath, '--no-warnings', '--input-type=module', '-e', program];
  const child = spawn('sh', ['-c', 'ulimit -n 64; exec "$@"', 'sh', ...node]);
  t.teardown(() => child.kill());
  let said = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => t.log(text));
  await until(() => said.includes('\n'));
  const port = Number.parseInt(said, 10);
  const clients: Socket[] = [];
  const dial = (): void => {
    const client = connect({host: '127.0.0.1', port});
    client.on('error', () => undefined);
    t.teardown(() => client.destroy());
    clients.push(client);
  };
  while (clients.length < 100) dial();
  await until(() => said.includes('EMFILE'));
  // Each is either taken or let go: none hangs.
  await until(() => said.match(/accepted|EMFILE/g)?.length === clients.length);
  const taken = said.match(/accepted/g)?.length ?? 0;
  await until(() => clients.filter(({destroyed}) => destroyed).length === clients.length - taken);
  child.stdin.write('go on');
  await until(() => clients.every(({closed}) => closed));
  dial();
  await until(() => said.match(/accepted/g)?.length === taken + 1);
  t.pass();
});
