import {createSocket} from 'node:dgram';
import {once} from 'node:events';
import {type AddressInfo, connect, createServer} from 'node:net';
import test, {type ExecutionContext} from 'ava';
import {addressBytes} from '../../../layer/address.ts';
import {type FlowProcesses, openFlowProcesses} from '../../../layer/processes/flow-process.ts';
import type {SkipOptions} from '../../../layer/processes/tools.ts';
import {Launcher} from '../../../layer/sandbox/launcher.ts';
import type {Endpoint} from '../../../netstack/types.ts';

/** A launcher that has unshared nothing: the tests' own namespace is the sandbox. */
function open(t: ExecutionContext, skip: Partial<SkipOptions> = {}): FlowProcesses {
  const launcher = new Launcher({argv: ['true'], env: {}, stdio: ['ignore', 'ignore', 'ignore']});
  const flows = openFlowProcesses(launcher, {
    skip: {buildTools: false, names: [], ...skip},
    log: () => undefined,
  });
  t.teardown(() => {
    flows[Symbol.dispose]();
    launcher[Symbol.dispose]();
  });
  return flows;
}

function endpoint(address: string, port = 0): Endpoint {
  return {address: addressBytes(address), port};
}

async function listen(t: ExecutionContext, host: string): Promise<number> {
  const server = createServer();
  await once(server.listen(0, host), 'listening');
  t.teardown(() => server.close());
  return (server.address() as AddressInfo).port;
}

for (const [host, address] of [
  ['127.0.0.1', '127.0.0.1'],
  ['::1', '::1'],
  ['::ffff:127.0.0.1', '127.0.0.1'],
] as const) {
  test(`a TCP connection to ${host} is found`, async (t) => {
    const flows = open(t, {names: ['node']});
    const port = await listen(t, host);
    const socket = connect(port, host);
    t.teardown(() => socket.destroy());
    await once(socket, 'connect');
    const source = endpoint(address, socket.localPort);
    t.is(flows.find('tcp', source, endpoint(address, port))?.pid, process.pid);
    t.true(flows.isSkipped('tcp', source, endpoint(address, port)));
    t.is(flows.counters.skipped, 1);
  });
}

test('a listener is found for a peer that comes, and is never a flow to be skipped', async (t) => {
  const flows = open(t, {names: ['node']});
  const local = endpoint('127.0.0.1', await listen(t, '127.0.0.1'));
  const peer = endpoint('127.0.0.2', 4711);
  t.is(flows.find('tcp', local, peer)?.pid, process.pid);
  t.false(flows.isSkipped('tcp', local, peer));
});

test('a UDP socket is found, connected or not, and where it takes both families', async (t) => {
  const flows = open(t, {names: ['node']});
  const peer = endpoint('192.0.2.1', 53);
  for (const type of ['udp4', 'udp6'] as const) {
    const socket = createSocket(type);
    t.teardown(() => socket.close());
    await once(socket.bind(0), 'listening');
    const {port} = socket.address();
    t.is(flows.find('udp', endpoint('127.0.0.1', port), peer)?.pid, process.pid, type);
    t.true(flows.isSkipped('udp', endpoint('127.0.0.1', port), peer));
  }
  const connected = createSocket('udp4');
  t.teardown(() => connected.close());
  connected.connect(9, '127.0.0.1');
  await once(connected, 'connect');
  const local = endpoint('127.0.0.1', connected.address().port);
  t.is(flows.find('udp', local, endpoint('127.0.0.1', 9))?.pid, process.pid);
  t.is(flows.find('udp', local, peer), undefined);
});

test('flows of processes with other names are not skipped', async (t) => {
  const flows = open(t, {buildTools: true, names: ['npm']});
  const port = await listen(t, '127.0.0.1');
  const socket = connect(port, '127.0.0.1');
  t.teardown(() => socket.destroy());
  await once(socket, 'connect');
  const source = endpoint('127.0.0.1', socket.localPort);
  t.false(flows.isSkipped('tcp', source, endpoint('127.0.0.1', port)));
});

test('a flow that has no socket is unknown, and counted', (t) => {
  const flows = open(t, {names: ['node']});
  const nobody = endpoint('192.0.2.1', 1);
  t.false(flows.isSkipped('tcp', nobody, nobody));
  t.is(flows.find('udp', nobody, nobody), undefined);
  t.is(flows.counters.unknown, 2);
});
