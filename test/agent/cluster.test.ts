import {spawn} from 'node:child_process';
import {once} from 'node:events';
import {readFileSync} from 'node:fs';
import type {AddressInfo} from 'node:net';
import {connect, createServer} from 'node:net';
import test from 'ava';
import {findContainerProcess, isInContainer} from '../../agent/cluster/find-container.ts';
import {specifiedEnvironment} from '../../agent/cluster/specified-environment.ts';
import {CAPABILITY} from '../../tunnel/handshake.ts';
import {
  callPing,
  callTarget,
  type ListeningPorts,
  subscribeListening,
} from '../../tunnel/target.ts';
import {connectTunnel} from '../../tunnel/websocket.ts';
import {
  AGENT_MAIN,
  join,
  ready,
  startListeningAgent,
  TOKEN_HASH,
} from '../helpers/listening-agent.ts';
import {seeded, TOKEN} from '../helpers/tunnel.ts';
import {until} from '../helpers/until.ts';

const ID = '4f1c'.repeat(16);

test('an agent that listens serves several clients, and leaves when the last says goodbye', async (t) => {
  const agent = await ready(await startListeningAgent(t, {args: ['--idle-ttl', '3600']}));
  const [one, other] = [await join(agent.port), await join(agent.port, {host: '::1'})];
  await callPing(one.mux);
  one.mux.close();
  await callPing(other.mux);
  other.mux.close();
  t.is(await agent.exit, 0);
});

test('an agent that listens answers GET /ready, and upgrades the same connection', async (t) => {
  const agent = await ready(await startListeningAgent(t));
  const connection = connect(agent.port, '127.0.0.1');
  connection.write('GET /ready HTTP/1.1\r\nhost: agent\r\n\r\n');
  const [answer] = await once(connection, 'data');
  t.regex(`${answer}`, /^HTTP\/1\.1 204 .*\r\n\r\n$/s);
  const up = Promise.withResolvers<void>();
  const mux = connectTunnel(
    connection,
    {token: TOKEN, random: seeded(1)},
    {onReady: () => up.resolve()},
  );
  await up.promise;
  mux.close();
  t.is(await agent.exit, 0);
});

test('an agent that listens knows the token by its hash', async (t) => {
  const agent = await ready(await startListeningAgent(t));
  await t.throwsAsync(join(agent.port, {token: TOKEN.with(31, 6)}), {message: /token is wrong/});
  const {mux} = await join(agent.port);
  mux.close();
  t.is(await agent.exit, 0);
  const commandLine = `--token-sha256 ${TOKEN_HASH}`;
  t.false(commandLine.includes(Buffer.from(TOKEN).toString('hex')));
});

test('an agent whose client is cut off waits for the idle time, and for another client', async (t) => {
  const agent = await ready(await startListeningAgent(t, {args: ['--idle-ttl', '3600']}));
  const {socket} = await join(agent.port);
  socket.resetAndDestroy();
  await until(() => agent.stderr().includes('client left'));
  const {mux} = await join(agent.port);
  await callPing(mux);
  mux.close();
  t.is(await agent.exit, 0);
});

test('an agent whose last client was cut off leaves after the idle time', async (t) => {
  const agent = await ready(await startListeningAgent(t, {args: ['--idle-ttl', '1']}));
  const {socket} = await join(agent.port);
  socket.resetAndDestroy();
  t.is(await agent.exit, 0);
  t.regex(agent.stderr(), /the last client was lost/);
});

test('an agent that no client comes to leaves after the communication timeout', async (t) => {
  const agent = await startListeningAgent(t, {args: ['--communication-timeout', '1']});
  t.is(await agent.exit, 0);
  t.regex(agent.stderr(), /no client came/);
});

test('connections without a token are not clients: the agent leaves all the same', async (t) => {
  const agent = await ready(await startListeningAgent(t, {args: ['--communication-timeout', '1']}));
  connect(agent.port, '127.0.0.1').on('error', () => {});
  t.is(await agent.exit, 0);
});

test('SIGTERM: the agent tells its clients and exits with 0', async (t) => {
  const agent = await ready(await startListeningAgent(t));
  const connection = connect(agent.port, '127.0.0.1');
  const up = Promise.withResolvers<void>();
  const over = Promise.withResolvers<string | undefined>();
  connectTunnel(
    connection,
    {token: TOKEN, random: seeded(1)},
    {onReady: () => up.resolve(), onClose: (error) => over.resolve(error?.code)},
  );
  await up.promise;
  agent.child.kill('SIGTERM');
  t.is(await over.promise, 'GOING_AWAY');
  t.is(await agent.exit, 0);
});

test('an agent without a target tells of its pod, and of its own variables only what is the target’s', async (t) => {
  const env = {
    MIRRORD_TARGET_DB_HOST: 'db',
    MIRRORD_TARGET_NODE_OPTIONS: '--require=/nowhere',
    ORDERS_SERVICE_HOST: '10.0.0.1',
    ORDERS_PORT: 'tcp://10.0.0.1:80',
    HTTP_PORT: '80',
  };
  const agent = await ready(await startListeningAgent(t, {env}));
  const {mux} = await join(agent.port);
  const info = await callTarget(mux);
  t.deepEqual(info.environment, {
    ORDERS_SERVICE_HOST: '10.0.0.1',
    ORDERS_PORT: 'tcp://10.0.0.1:80',
    DB_HOST: 'db',
    NODE_OPTIONS: '--require=/nowhere',
  });
  t.deepEqual(info.files['/etc/hosts'], new Uint8Array(readFileSync('/etc/hosts')));
  mux.close();
  t.is(await agent.exit, 0);
});

test("the agent's own port is not among those that the pod listens at", async (t) => {
  const agent = await ready(await startListeningAgent(t));
  const {mux} = await join(agent.port);
  const beside = createServer().listen(0, '127.0.0.1');
  await once(beside, 'listening');
  const seen = Promise.withResolvers<ListeningPorts>();
  const {port} = beside.address() as AddressInfo;
  subscribeListening(
    mux,
    (ports) => ports.tcp4.includes(port) && seen.resolve(ports),
    () => {},
  );
  const ports = await seen.promise;
  t.false(ports.tcp4.includes(agent.port) || ports.tcp6.includes(agent.port));
  beside.close();
  mux.close();
  t.is(await agent.exit, 0);
});

test('an agent without a target pings by the sockets of the launcher, where the kernel has them', async (t) => {
  const agent = await ready(await startListeningAgent(t));
  const {mux} = await join(agent.port);
  const range = readFileSync('/proc/sys/net/ipv4/ping_group_range', 'utf8').split('\t').map(Number);
  const [first = 1, last = 0] = range;
  const group = process.getgid?.() ?? 0;
  const mayPing = group >= first && group <= last;
  t.is((mux.peer?.capabilities ?? 0) & CAPABILITY.echo4, mayPing ? CAPABILITY.echo4 : 0);
  mux.close();
  t.is(await agent.exit, 0);
});

test('an agent whose target has no process on the node says so and exits', async (t) => {
  const child = spawn(process.execPath, [
    AGENT_MAIN,
    ...[
      '--listen',
      '40000',
      '--token-sha256',
      TOKEN_HASH,
      '--container-id',
      ID,
      '--log-format',
      'text',
    ],
  ]);
  let stderr = '';
  child.stderr.on('data', (text) => (stderr += text));
  const [code] = await once(child, 'close');
  t.is(code, 1);
  t.regex(stderr, new RegExp(`ERROR container ${ID} has no process on this node`));
});

for (const [name, args] of [
  ['no port', ['--listen', '0', '--targetless', '--token-sha256', TOKEN_HASH]],
  ['no hash', ['--listen', '40000', '--targetless']],
  ['neither a container nor none', ['--listen', '40000', '--token-sha256', TOKEN_HASH]],
  [
    'both',
    ['--listen', '40000', '--targetless', '--container-id', ID, '--token-sha256', TOKEN_HASH],
  ],
  [
    'a container that is a path',
    ['--listen', '40000', '--container-id', '../../etc/passwd', '--token-sha256', TOKEN_HASH],
  ],
] as const) {
  test(`an agent that is to listen with ${name} says why and exits with 2`, async (t) => {
    const child = spawn(process.execPath, [AGENT_MAIN, ...args]);
    let stderr = '';
    child.stderr.on('data', (text) => (stderr += text));
    const [code] = await once(child, 'close');
    t.is(code, 2);
    t.is(JSON.parse(stderr).code, 'MIRRORD_AGENT_USAGE');
  });
}

for (const [name, cgroup, isInside] of [
  ['cgroup v1, cgroupfs', `12:pids:/kubepods/burstable/podabc/${ID}`, true],
  [
    'cgroup v1, systemd',
    `1:name=systemd:/kubepods.slice/kubepods-podabc.slice/docker-${ID}.scope`,
    true,
  ],
  [
    'cgroup v2, systemd, containerd',
    `0::/kubepods.slice/kubepods-podabc.slice/cri-containerd-${ID}.scope`,
    true,
  ],
  ['cgroup v2, from a namespace beside it', `0::/../cri-containerd-${ID}.scope`, true],
  [
    'containerd without a cgroup parent of its own',
    `0::/system.slice/containerd.service/kubepods-podabc.slice:cri-containerd:${ID}`,
    true,
  ],
  ['CRI-O', `0::/kubepods.slice/crio-${ID}.scope/container`, true],
  ['the monitor of CRI-O', `0::/kubepods.slice/crio-conmon-${ID}.scope`, false],
  ['another container', `0::/kubepods.slice/cri-containerd-${'ab'.repeat(32)}.scope`, false],
  ['an id that only begins alike', `0::/kubepods/podabc/${ID}ff`, false],
  ['the node', '0::/init.scope', false],
] as const) {
  test(`container of a process: ${name}`, (t) => {
    t.is(isInContainer(`11:cpu,cpuacct:/\n${cgroup}\n`, ID), isInside);
  });
}

test('a container that has no process here is not found', async (t) => {
  t.is(await findContainerProcess(ID), undefined);
});

test("variables of Services are the target's only where the agent is in its namespace", (t) => {
  const own = {
    PATH: '/bin',
    ORDERS_SERVICE_HOST: '10.0.0.1',
    ORDERS_SERVICE_PORT_HTTP: '80',
    ORDERS_PORT_80_TCP_ADDR: '10.0.0.1',
    MIRRORD_TARGET_PATH: '/app/bin',
  };
  t.deepEqual(specifiedEnvironment(own, false), {PATH: '/app/bin'});
  t.deepEqual(specifiedEnvironment(own, true), {
    ORDERS_SERVICE_HOST: '10.0.0.1',
    ORDERS_SERVICE_PORT_HTTP: '80',
    ORDERS_PORT_80_TCP_ADDR: '10.0.0.1',
    PATH: '/app/bin',
  });
});
