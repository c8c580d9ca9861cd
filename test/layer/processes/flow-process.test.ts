import {type ChildProcess, spawn} from 'node:child_process';
import {once} from 'node:events';
import {type AddressInfo, createServer} from 'node:net';
import test, {type ExecutionContext} from 'ava';
import {addressBytes} from '../../../layer/address.ts';
import {type FlowProcesses, openFlowProcesses} from '../../../layer/processes/flow-process.ts';
import {Launcher} from '../../../layer/sandbox/launcher.ts';
import type {Endpoint} from '../../../netstack/types.ts';

/** A launcher that has unshared nothing: the tests' own namespace is the sandbox. */
function open(t: ExecutionContext, ...names: string[]): FlowProcesses {
  const launcher = new Launcher({argv: ['true'], env: {}, stdio: ['ignore', 'ignore', 'ignore']});
  const flows = openFlowProcesses(launcher, {
    skip: {buildTools: false, names},
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

/** Starts a program that makes `s`, a socket, and keeps it. Returns its process and the socket's port. */
async function start(
  t: ExecutionContext,
  statements: string,
): Promise<{child: ChildProcess; port: number}> {
  const script = `
from socket import *
${statements}
print(s.getsockname()[1], flush=True)
input()`;
  const child = spawn('python3', ['-c', script], {stdio: ['pipe', 'pipe', 'inherit']});
  t.teardown(() => child.kill('SIGKILL'));
  const [line] = await once(child.stdout, 'data');
  return {child, port: Number(line)};
}

async function listen(t: ExecutionContext, host: string): Promise<number> {
  const server = createServer();
  await once(server.listen(0, host), 'listening');
  t.teardown(() => server.close());
  return (server.address() as AddressInfo).port;
}

for (const [family, host, address] of [
  ['AF_INET', '127.0.0.1', '127.0.0.1'],
  ['AF_INET6', '::1', '::1'],
  ['AF_INET6', '::ffff:127.0.0.1', '127.0.0.1'],
] as const) {
  test(`a TCP connection to ${host} is found`, async (t) => {
    const flows = open(t, 'python3');
    const destination = endpoint(address, await listen(t, host));
    const connect = `s = socket(${family}); s.connect(('${host}', ${destination.port}))`;
    const {child, port} = await start(t, connect);
    t.is(flows.find('tcp', endpoint(address, port), destination)?.pid, child.pid);
    t.true(flows.isSkipped('tcp', endpoint(address, port), destination));
    t.is(flows.counters.skipped, 1);
  });
}

test('a listener is found for a peer that comes, and is never a flow to be skipped', async (t) => {
  const flows = open(t, 'python3');
  const {child, port} = await start(t, "s = socket(); s.bind(('127.0.0.1', 0)); s.listen()");
  const peer = endpoint('127.0.0.2', 4711);
  t.is(flows.find('tcp', endpoint('127.0.0.1', port), peer)?.pid, child.pid);
  t.false(flows.isSkipped('tcp', endpoint('127.0.0.1', port), peer));
});

for (const family of ['AF_INET', 'AF_INET6']) {
  test(`a UDP socket of ${family} is found, for any peer`, async (t) => {
    const flows = open(t, 'python3');
    const {child, port} = await start(t, `s = socket(${family}, SOCK_DGRAM); s.bind(('', 0))`);
    const peer = endpoint('192.0.2.1', 53);
    t.is(flows.find('udp', endpoint('127.0.0.1', port), peer)?.pid, child.pid);
    t.true(flows.isSkipped('udp', endpoint('127.0.0.1', port), peer));
  });
}

test('a connected UDP socket is found for its peer only', async (t) => {
  const flows = open(t);
  const connect = "s = socket(AF_INET, SOCK_DGRAM); s.connect(('127.0.0.1', 9))";
  const {child, port} = await start(t, connect);
  const local = endpoint('127.0.0.1', port);
  t.is(flows.find('udp', local, endpoint('127.0.0.1', 9))?.pid, child.pid);
  t.is(flows.find('udp', local, endpoint('192.0.2.1', 9)), undefined);
});

test('flows of other processes than the skipped are not skipped', async (t) => {
  const flows = open(t, 'sleep');
  t.teardown(
    (
      (child) => () =>
        child.kill('SIGKILL')
    )(spawn('sleep', ['1000'])),
  );
  const {port} = await start(t, "s = socket(AF_INET, SOCK_DGRAM); s.bind(('', 0))");
  t.false(flows.isSkipped('udp', endpoint('127.0.0.1', port), endpoint('192.0.2.1', 53)));
  t.deepEqual([flows.counters.skipped, flows.counters.unknown], [0, 0]);
});

test('a flow that has no socket is unknown, and counted', async (t) => {
  const flows = open(t, 'python3');
  await start(t, 's = socket(AF_INET, SOCK_DGRAM)');
  const nobody = endpoint('192.0.2.1', 1);
  t.false(flows.isSkipped('tcp', nobody, nobody));
  t.is(flows.find('udp', nobody, nobody), undefined);
  t.is(flows.counters.unknown, 2);
});
