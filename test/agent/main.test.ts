import {type ChildProcess, spawn} from 'node:child_process';
import {once} from 'node:events';
import type {Socket} from 'node:net';
import test, {type ExecutionContext} from 'ava';
import {CAPABILITY} from '../../tunnel/handshake.ts';
import {emitEchoHead, emitFamily, parseEchoReply} from '../../tunnel/messages.ts';
import type {Mux} from '../../tunnel/mux.ts';
import {callPing, callTarget} from '../../tunnel/target.ts';
import {connectTunnel} from '../../tunnel/websocket.ts';
import {dial, LOOPBACK4, LOOPBACK6, WaitingEar} from '../helpers/agent.ts';
import {seeded, TOKEN} from '../helpers/tunnel.ts';

const MAIN = new URL('../../agent/main.ts', import.meta.url).pathname;

interface Agent {
  child: ChildProcess;
  connection: Socket;
  exit: Promise<number | null>;
  stderr(): string;
}

/** Starts the real agent, by a shell command in which "$@" is its command line. */
function spawnAgent(
  t: ExecutionContext,
  options: {args?: string[]; token?: string; wrapper?: string[]} = {},
): Agent {
  const args = [process.execPath, MAIN, ...(options.args ?? ['--target-pid', `${process.pid}`])];
  const [file = '', ...rest] = [...(options.wrapper ?? []), ...args];
  const child = spawn(file, rest, {
    stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
    env: {
      ...process.env,
      MIRRORD_AGENT_TOKEN: options.token ?? Buffer.from(TOKEN).toString('hex'),
    },
  });
  t.teardown(() => child.kill('SIGKILL'));
  let stderr = '';
  child.stderr?.on('data', (text) => (stderr += text));
  const connection = child.stdio[3] as Socket;
  connection.on('error', () => {});
  const exit = once(child, 'exit').then(([code]) => code);
  return {child, connection, exit, stderr: () => stderr};
}

async function tunnelTo({connection}: Agent): Promise<Mux> {
  const ready = Promise.withResolvers<void>();
  const mux = connectTunnel(
    connection,
    {token: TOKEN, random: seeded(1)},
    {
      onReady: () => ready.resolve(),
      onClose: (error) => ready.reject(error ?? new Error('closed')),
    },
  );
  await ready.promise;
  return mux;
}

/** A network namespace of its own, with routes that fail in each way, and ping sockets on 4 and 5. */
const SANDBOX = [
  'unshare',
  '-Urn',
  'python3',
  '-c',
  `
import os, socket, subprocess, sys
run = lambda text: subprocess.run(text.split(), check=True)
run('ip link set lo up')
run('ip route add unreachable 10.1.0.0/16')
run('ip route add prohibit 10.2.0.0/16')
open('/proc/sys/net/ipv4/ping_group_range', 'w').write('0 0')
four = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
six = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM, socket.IPPROTO_ICMPV6)
a, b = os.dup(four.fileno()), os.dup(six.fileno())
a, b = os.dup2(a, 24), os.dup2(b, 25)
os.execvp(sys.argv[1], sys.argv[1:])
`,
];

test('the agent serves its inherited connection and exits with 0 when that ends', async (t) => {
  const agent = spawnAgent(t);
  const mux = await tunnelTo(agent);
  await callPing(mux);
  t.is((await callTarget(mux)).pid, process.pid);
  mux.close();
  t.is(await agent.exit, 0);
  t.is(agent.stderr(), '', 'quiet unless something is wrong');
});

test('the agent exits when the connection is cut without a word', async (t) => {
  const agent = spawnAgent(t);
  await tunnelTo(agent);
  agent.connection.destroy();
  t.is(await agent.exit, 0);
});

test('the agent listens at no port', async (t) => {
  const agent = spawnAgent(t, {wrapper: SANDBOX});
  const mux = await tunnelTo(agent);
  const ear = new WaitingEar();
  ear.stream = mux.open('tcp', new Uint8Array([4, 127, 0, 0, 1, 0, 9]), ear);
  t.is(await ear.event('refused'), 'refused ECONNREFUSED');
  mux.close();
  t.is(await agent.exit, 0);
});

test('an agent whose client shows a wrong token says so to it and exits', async (t) => {
  const agent = spawnAgent(t, {token: 'ab'.repeat(32)});
  await t.throwsAsync(tunnelTo(agent), {message: /token is wrong/});
  t.is(await agent.exit, 0);
});

for (const [name, bytes] of [
  ['garbage', Buffer.alloc(5000, 0xee)],
  ['a request that is no upgrade', Buffer.from('GET / HTTP/1.1\r\nhost: x\r\n\r\n')],
] as const) {
  test(`an agent that is sent ${name} exits`, async (t) => {
    const agent = spawnAgent(t);
    agent.connection.write(bytes);
    agent.connection.resume();
    t.is(await agent.exit, 0);
  });
}

test('an agent that nobody talks to exits after its communication timeout', async (t) => {
  const agent = spawnAgent(t, {args: ['--target-pid', '1', '--communication-timeout', '1']});
  agent.connection.resume();
  t.is(await agent.exit, 0);
});

test('a client that upgrades but shows no token is left after the communication timeout', async (t) => {
  const agent = spawnAgent(t, {args: ['--target-pid', '1', '--communication-timeout', '1']});
  agent.connection.write(
    'GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n' +
      'sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n',
  );
  agent.connection.resume();
  t.is(await agent.exit, 0);
});

for (const [name, args, token] of [
  ['no target', [], undefined],
  ['a target that is no number', ['--target-pid', 'x'], undefined],
  ['an unknown flag', ['--target-pid', '1', '--what'], undefined],
  ['a short token', ['--target-pid', '1'], 'abcd'],
] as const) {
  test(`an agent started with ${name} says why and exits with 2`, async (t) => {
    const agent = spawnAgent(t, {args: [...args], ...(token === undefined ? {} : {token})});
    const [, code] = await Promise.all([once(agent.child, 'close'), agent.exit]);
    t.is(code, 2);
    t.is(JSON.parse(agent.stderr()).code, 'MIRRORD_AGENT_USAGE');
  });
}

test('the token is not in the environment of the agent', async (t) => {
  const agent = spawnAgent(t);
  const mux = await tunnelTo(agent);
  // What /proc shows is the first environment, which no process can take back; process.env, which
  // children inherit, is checked where it is parsed.
  const info = await callTarget(mux);
  t.false('MIRRORD_AGENT_TOKEN' in info.environment);
  mux.close();
  t.is(await agent.exit, 0);
});

test('unreachable and forbidden networks refuse with the errno of the kernel', async (t) => {
  const agent = spawnAgent(t, {wrapper: SANDBOX});
  const mux = await tunnelTo(agent);
  const refusal = (...address: number[]): Promise<string> =>
    dial(mux, {address: new Uint8Array(address), port: 80}).ear.event('refused');
  t.is(await refusal(192, 0, 2, 1), 'refused ENETUNREACH');
  t.is(await refusal(10, 1, 0, 1), 'refused EHOSTUNREACH');
  t.is(await refusal(10, 2, 0, 1), 'refused EACCES');
  mux.close();
  t.is(await agent.exit, 0);
});

test('echo requests are sent by inherited ping sockets, and replies keep id, sequence and data', async (t) => {
  const args = ['--target-pid', `${process.pid}`, '--echo4-fd', '24', '--echo6-fd', '25'];
  const agent = spawnAgent(t, {wrapper: SANDBOX, args});
  const mux = await tunnelTo(agent);
  const both = CAPABILITY.echo4 | CAPABILITY.echo6;
  t.is((mux.peer?.capabilities ?? 0) & both, both);
  for (const [family, address] of [
    [4, LOOPBACK4],
    [6, LOOPBACK6],
  ] as const) {
    const ear = new WaitingEar();
    const stream = mux.open('echo', emitFamily(family), ear);
    for (const seq of [7, 8]) {
      stream.sendDatagram(Buffer.from(`data ${seq}`), emitEchoHead({address, id: 4321, seq}));
    }
    await ear.until(() => ear.datagrams.length === 2);
    const replies = ear.datagrams.map((bytes) => parseEchoReply(bytes, family));
    t.deepEqual(
      replies.map(({id}) => id),
      [4321, 4321],
    );
    t.deepEqual(
      replies.map(({seq}) => seq),
      [7, 8],
    );
    t.deepEqual(
      replies.map(({payload}) => String(Buffer.from(payload))),
      ['data 7', 'data 8'],
    );
    t.deepEqual([...(replies[0]?.address ?? [])], [...address]);
  }
  mux.close();
  t.is(await agent.exit, 0);
});
