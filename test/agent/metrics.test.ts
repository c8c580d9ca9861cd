import {once} from 'node:events';
import {get, request} from 'node:http';
import {type AddressInfo, connect, createServer, type Socket} from 'node:net';
import {text} from 'node:stream/consumers';
import test, {type ExecutionContext} from 'ava';
import {Metrics} from '../../agent/metrics.ts';
import {parseOptions} from '../../agent/options.ts';
import {newCounters} from '../../tunnel/mux-types.ts';
import {callPing, type ListeningPorts, subscribeListening} from '../../tunnel/target.ts';
import {dial, listen} from '../helpers/agent.ts';
import {
  join,
  type ListeningAgent,
  ready,
  startListeningAgent,
  TOKEN_HASH,
} from '../helpers/listening-agent.ts';
import {freePort} from '../helpers/ports.ts';
import {until} from '../helpers/until.ts';

const facts = {
  version: '1.2.3',
  node: 'v24.0.0',
  arch: 'x64',
  uptimeSeconds: 12.5,
  cpuSeconds: 0.25,
  residentBytes: 1e6,
};

/** Values by name and labels. Fails at a line that Prometheus would not read. */
function samples(t: ExecutionContext, page: string): Map<string, number> {
  const found = new Map<string, number>();
  const types = new Map<string, string>();
  t.true(page.endsWith('\n'));
  for (const line of page.trimEnd().split('\n')) {
    const [, about, named, rest] = /^# (HELP|TYPE) ([a-z_]+) (.+)$/.exec(line) ?? [];
    if (about === 'TYPE') types.set(named ?? '', rest ?? '');
    if (about !== undefined) continue;
    const label = '[a-z]+="[^"\\\\\\n]*"';
    const sample = new RegExp(`^([a-z_]+)(\\{${label}(?:,${label})*\\})? ([0-9.e+-]+)$`).exec(line);
    t.truthy(sample, line);
    const [, name = '', labels = '', value] = sample ?? [];
    t.is(types.get(name), name.endsWith('_total') ? 'counter' : 'gauge', line);
    t.false(found.has(name + labels), `twice: ${line}`);
    found.set(name + labels, Number(value));
  }
  return found;
}

async function startWithMetrics(
  t: ExecutionContext,
  address = '127.0.0.1',
): Promise<{agent: ListeningAgent; port: number}> {
  const port = await freePort();
  const args = ['--metrics', `${address}:${port}`, '--idle-ttl', '3600'];
  return {agent: await ready(await startListeningAgent(t, {args})), port};
}

async function scrape(t: ExecutionContext, port: number, host = '127.0.0.1') {
  const [response] = await once(get({host, port, path: '/metrics'}), 'response');
  t.is(response.statusCode, 200);
  t.is(response.headers['content-type'], 'text/plain; version=0.0.4; charset=utf-8');
  t.is(response.headers.connection, 'close');
  return samples(t, await text(response));
}

test('what a tunnel has counted stays when its client goes', (t) => {
  const metrics = new Metrics();
  const [one, other] = [newCounters(), newCounters()];
  metrics.clientJoined(one);
  metrics.clientJoined(other);
  Object.assign(one, {bytesIn: 100, datagramsDroppedLate: 2});
  other.bytesIn = 20;
  metrics.clientLeft(one);
  metrics.clientLeft(one);
  one.bytesIn = 5000;
  const found = samples(t, metrics.render(facts));
  t.is(found.get('mirrord_agent_clients_connected'), 1);
  t.is(found.get('mirrord_agent_clients_total'), 2);
  t.is(found.get('mirrord_agent_tunnel_received_bytes_total'), 120);
  t.is(found.get('mirrord_agent_datagrams_dropped_total{reason="late"}'), 2);
});

test('streams are counted by kind: open, in all, and refused', (t) => {
  const metrics = new Metrics();
  metrics.streamOpened('udp');
  metrics.streamOpened('udp');
  metrics.streamClosed('udp');
  metrics.streamRefused('unix');
  const found = samples(t, metrics.render(facts));
  t.is(found.get('mirrord_agent_streams_open{kind="udp"}'), 1);
  t.is(found.get('mirrord_agent_streams_total{kind="udp"}'), 2);
  t.is(found.get('mirrord_agent_streams_refused_total{kind="unix"}'), 1);
  t.is(found.get('mirrord_agent_streams_total{kind="unix"}'), 0);
});

test('what comes to the target is counted: connections, packets, copies', (t) => {
  const captured = {
    ...{packets: 100, dropped: 7, broken: 6, truncated: 5},
    ...{connections: 40, open: 4, cutOff: 3},
  };
  const incoming = {connections: 12, lingering: 11, captured, slowCopies: 2};
  const found = samples(t, new Metrics(undefined, incoming).render(facts));
  for (const [name, value] of Object.entries({
    incoming_connections: 12,
    lingering_connections: 11,
    captured_packets_total: 100,
    'captured_packets_lost_total{reason="full"}': 7,
    'captured_packets_lost_total{reason="checksum"}': 6,
    'captured_packets_lost_total{reason="truncated"}': 5,
    captured_connections: 4,
    captured_connections_total: 40,
    'copies_cut_off_total{reason="lost"}': 3,
    'copies_cut_off_total{reason="slow"}': 2,
  })) {
    t.is(found.get(`mirrord_agent_${name}`), value, name);
  }
});

test('a session that never showed its token counts for nothing', (t) => {
  const metrics = new Metrics();
  const stranger = newCounters();
  stranger.bytesIn = 7;
  metrics.clientLeft(stranger);
  const found = samples(t, metrics.render(facts));
  t.is(found.get('mirrord_agent_tunnel_received_bytes_total'), 0);
  t.is(found.get('mirrord_agent_clients_total'), 0);
});

test('the process tells of itself', (t) => {
  const found = samples(t, new Metrics().render(facts));
  t.is(found.get('mirrord_agent_build_info{version="1.2.3",node="v24.0.0",arch="x64"}'), 1);
  t.is(found.get('mirrord_agent_uptime_seconds'), 12.5);
  t.is(found.get('process_cpu_seconds_total'), 0.25);
  t.is(found.get('process_resident_memory_bytes'), 1e6);
});

test('GET /metrics tells of clients, their streams and bytes, now and in all', async (t) => {
  const {agent, port} = await startWithMetrics(t);
  const before = await scrape(t, port);
  t.is(before.get('mirrord_agent_clients_connected'), 0);
  const {mux} = await join(agent.port);
  const echo = await listen(t, (socket: Socket) => socket.pipe(socket));
  const {stream, ear} = dial(mux, echo);
  await ear.event('opened');
  stream.write(Buffer.alloc(10_000, 1));
  await ear.until(() => ear.bytes.length === 10_000);
  const during = await scrape(t, port);
  t.is(during.get('mirrord_agent_clients_connected'), 1);
  t.is(during.get('mirrord_agent_streams_open{kind="tcp"}'), 1);
  for (const way of ['received', 'sent']) {
    const bytes = during.get(`mirrord_agent_tunnel_${way}_bytes_total`) ?? 0;
    t.true(bytes > 10_000 && bytes < 20_000, `${way} ${bytes}`);
  }
  // Without any client the agent would leave.
  const other = await join(agent.port);
  await callPing(mux);
  mux.close();
  await until(() => agent.stderr().includes('client left'));
  const after = await scrape(t, port);
  other.mux.close();
  t.is(after.get('mirrord_agent_clients_connected'), 1);
  t.is(after.get('mirrord_agent_clients_total'), 2);
  t.is(after.get('mirrord_agent_streams_open{kind="tcp"}'), 0);
  t.is(after.get('mirrord_agent_streams_total{kind="tcp"}'), 1);
  t.is(after.get('mirrord_agent_streams_total{kind="call"}'), 1);
  t.is(after.get('mirrord_agent_streams_refused_total{kind="tcp"}'), 0);
});

test('at [::], metrics are to be had over both families', async (t) => {
  const {port} = await startWithMetrics(t, '[::]');
  await scrape(t, port, '127.0.0.1');
  await scrape(t, port, '::1');
  t.pass();
});

test('where metrics can not be listened at, the agent says so and works all the same', async (t) => {
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  t.teardown(() => taken.close());
  const {port} = taken.address() as AddressInfo;
  const args = ['--metrics', `127.0.0.1:${port}`];
  const agent = await ready(await startListeningAgent(t, {args}));
  t.regex(agent.stderr(), new RegExp(`listen at 127\\.0\\.0\\.1 port ${port}: bind`));
  t.regex(agent.stderr(), /no metrics/);
  const {mux} = await join(agent.port);
  await callPing(mux);
  mux.close();
  t.is(await agent.exit, 0);
});

test('without --metrics an agent listens for nobody but its clients', async (t) => {
  const agent = await ready(await startListeningAgent(t));
  const [response] = await once(get({port: agent.port, path: '/metrics'}), 'response');
  t.is(response.statusCode, 426);
});

test("the port of metrics is not among those that the agent's own pod listens at", async (t) => {
  const {agent, port} = await startWithMetrics(t, '0.0.0.0');
  const {mux} = await join(agent.port);
  const beside = createServer().listen(0);
  await once(beside, 'listening');
  t.teardown(() => beside.close());
  const seen = Promise.withResolvers<ListeningPorts>();
  const other = (beside.address() as AddressInfo).port;
  subscribeListening(
    mux,
    (ports) => ports.ownTcp4.includes(other) && seen.resolve(ports),
    () => {},
  );
  const ports = await seen.promise;
  for (const list of [ports.tcp4, ports.tcp6, ports.ownTcp4, ports.ownTcp6]) {
    t.false(list.includes(port));
  }
  mux.close();
});

for (const [what, options, status] of [
  ['another path', {path: '/'}, 404],
  ['another method', {path: '/metrics', method: 'POST'}, 405],
  ['a long request', {path: '/metrics', headers: {long: 'x'.repeat(20_000)}}, 431],
] as const) {
  test(`metrics: ${what} gets ${status}, and its connection ends`, async (t) => {
    const {port} = await startWithMetrics(t);
    const asked = request({port, host: '127.0.0.1', agent: false, ...options}).end();
    const [response] = await once(asked, 'response');
    t.is(response.statusCode, status);
    t.is(response.headers.connection, 'close');
    await text(response);
  });
}

test('metrics: connections that ask nothing are few, and end by themselves', async (t) => {
  const {port} = await startWithMetrics(t);
  let ended = 0;
  const idle = Array.from({length: 12}, () => connect(port, '127.0.0.1'));
  t.teardown(() => {
    for (const socket of idle) socket.destroy();
  });
  for (const socket of idle) {
    socket.on('error', () => {});
    socket.on('close', () => ended++).resume();
  }
  await until(() => ended >= 4);
  await until(() => ended === 12);
  t.is((await scrape(t, port)).get('mirrord_agent_scrapes_refused_total'), 4);
});

for (const bad of [
  'nonsense',
  '1.2.3.4',
  '1.2.3.4:0',
  '1.2.3.4:70000',
  '::1:9000',
  '[1.2.3.4]:9',
]) {
  test(`--metrics ${bad} is refused`, (t) => {
    const args = ['--listen', '4000', '--targetless', '--token-sha256', TOKEN_HASH];
    t.throws(() => parseOptions([...args, '--metrics', bad], {}), {
      code: 'MIRRORD_AGENT_USAGE',
      message: /--metrics/,
    });
  });
}

test('--metrics takes an address of either family', (t) => {
  const args = ['--listen', '4000', '--targetless', '--token-sha256', TOKEN_HASH, '--metrics'];
  t.like(parseOptions([...args, '0.0.0.0:9000'], {}), {
    metrics: {address: '0.0.0.0', port: 9000},
  });
  t.like(parseOptions([...args, '[fd00::1]:9000'], {}), {
    metrics: {address: 'fd00::1', port: 9000},
  });
});
