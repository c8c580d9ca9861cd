import test from 'ava';
import {useDemo} from '../helpers/e2e.ts';
import {useSession} from '../helpers/session.ts';

const demo = useDemo(test);
const session = useSession(test, demo);

async function client(...args: string[]): Promise<string> {
  return await session.exec(['python3', demo.program('client.py'), ...args]);
}

const refused = 'Connection refused';

test.serial("the pod's loopback is reached over IPv4 and IPv6", async (t) => {
  for (const [host, from] of [
    ['127.0.0.1', '127.0.0.1'],
    ['[::1]', '::1'],
  ]) {
    const output = await session.exec(['curl', '-sS', '--fail', `http://${host}:9000/x`]);
    t.deepEqual(JSON.parse(output), {pod: 'gateway', admin: true, path: '/x', client: from});
  }
});

test.serial("the pod's loopback is reached by the name localhost", async (t) => {
  t.regex(await session.exec(['curl', '-sS', '--fail', 'http://localhost:9000/']), /"admin":true/);
});

test.serial("a server on all of the pod's addresses is reached on localhost", async (t) => {
  t.regex(
    await session.exec(['curl', '-sS', 'http://127.0.0.1:80/x']),
    /"pod":"gateway".*"client":"127/,
  );
});

test.serial("a datagram to the pod's loopback is answered from there", async (t) => {
  t.is(await client('udp_peers', '127.0.0.1,8125'), '127.0.0.1,8125 to 127.0.0.1,8125\n');
});

test.serial("datagrams of 1 to 9000 bytes reach the pod's loopback", async (t) => {
  const output = await client('udp_sizes', '127.0.0.1', '8125', '1', '1472', '1473', '9000');
  t.is(output, '1 True\n1472 True\n1473 True\n9000 True\n');
});

test.serial('a port that nobody has open is refused', async (t) => {
  for (const url of ['http://127.0.0.1:9001/', 'http://[::1]:9001/']) {
    const {status, stderr} = await session.run(['curl', '-sSv', url]);
    t.is(status, 7);
    t.regex(stderr, /Connection refused/);
  }
});

test.serial("a port that only another of the pod's addresses has open is refused", async (t) => {
  const {status, stderr} = await demo.startExec(['curl', '-sS', 'http://127.0.0.1:8080/'], {
    target: 'demo/orders-0',
  }).ended;
  t.is(status, 7, stderr);
});

test.serial('a port is reached while a server in the pod has it open', async (t) => {
  const python = ['python3', demo.program('client.py')];
  const watcher = demo.startExec([...python, 'watch_localhost', '9100', refused, 'hello', refused]);
  await watcher.said(/^Connection refused\n/);
  const listen = [...python, 'serve_localhost', '9100'];
  const server = demo.start(demo.entering(await demo.pod('gateway'), listen));
  await watcher.said(/^Connection refused\nhello\n/);
  server.child.kill('SIGKILL');
  t.is((await watcher.ended).stdout, 'Connection refused\nhello\nConnection refused\n');
});

for (const family of ['4', '6']) {
  test.serial(
    `a local listener wins over the pod's as long as it's there (IPv${family})`,
    async (t) => {
      t.deepEqual(JSON.parse(await client('own_listener', family, '9000', '50')), {'own pod': 50});
    },
  );
}

test.serial('a local listener on all addresses wins too', async (t) => {
  const script = [
    'import socket',
    "s = socket.create_server(('0.0.0.0', 9000))",
    "c = socket.create_connection(('127.0.0.1', 9000), timeout=30)",
    'a, _ = s.accept()',
    'a.sendall(b"own")',
    'print(c.recv(10).decode())',
  ].join('\n');
  t.is(await session.exec(['python3', '-c', script]), 'own\n');
});

test.serial("a local UDP socket wins over the pod's while it is open", async (t) => {
  t.is(await client('own_datagrams', '8125'), 'ping\nown ping\nping\n');
});
