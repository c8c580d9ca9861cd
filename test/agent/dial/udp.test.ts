import {createSocket, type RemoteInfo, type Socket} from 'node:dgram';
import {once} from 'node:events';
import test, {type ExecutionContext} from 'ava';
import {
  emitEndpoint,
  emitFamily,
  parseUdpReport,
  type UdpReport,
} from '../../../tunnel/messages.ts';
import type {Mux} from '../../../tunnel/mux.ts';
import type {MuxStream} from '../../../tunnel/types.ts';
import {LOOPBACK4, LOOPBACK6, startAgent, WaitingEar} from '../../helpers/agent.ts';
import {until} from '../../helpers/until.ts';

/** A udp stream as a program's socket. */
function open(
  layer: Mux,
  family: 4 | 6 = 4,
): {stream: MuxStream; ear: WaitingEar; reports(): UdpReport[]} {
  const ear = new WaitingEar();
  const stream = layer.open('udp', emitFamily(family), ear);
  return {stream, ear, reports: () => ear.datagrams.map(parseUdpReport)};
}

function send(
  stream: MuxStream,
  port: number,
  text: string | Uint8Array,
  address = LOOPBACK4,
): void {
  stream.sendDatagram(
    typeof text === 'string' ? Buffer.from(text) : text,
    emitEndpoint({address, port}),
  );
}

async function bind(
  t: ExecutionContext,
  onMessage: (socket: Socket, payload: Buffer, from: RemoteInfo) => void,
  host = '127.0.0.1',
): Promise<{socket: Socket; port: number}> {
  const socket = createSocket(host === '::1' ? 'udp6' : 'udp4');
  socket.on('message', (payload, from) => onMessage(socket, payload, from));
  socket.bind(0, host);
  await once(socket, 'listening');
  t.teardown(() => socket.close());
  return {socket, port: socket.address().port};
}

const echo = (socket: Socket, payload: Buffer, from: RemoteInfo): void =>
  socket.send(payload, from.port, from.address);

test('datagrams come back with the address they come from, over IPv4 and IPv6', async (t) => {
  const {layer} = await startAgent(t);
  for (const [family, host, address] of [
    [4, '127.0.0.1', LOOPBACK4],
    [6, '::1', LOOPBACK6],
  ] as const) {
    const {port} = await bind(t, echo, host);
    const {stream, ear, reports} = open(layer, family);
    for (const text of ['one', '', 'three']) send(stream, port, text, address);
    await ear.until(() => ear.datagrams.length === 3);
    const texts = reports().map(
      (report) => report.type === 'datagram' && Buffer.from(report.payload).toString(),
    );
    t.deepEqual(texts, ['one', '', 'three']);
    const [first] = reports();
    t.true(first?.type === 'datagram' && first.from.port === port);
    t.deepEqual(first?.type === 'datagram' ? [...first.from.address] : [], [...address]);
  }
});

test('one stream is one port of the pod, whatever the destination', async (t) => {
  const {layer} = await startAgent(t);
  const seen: number[] = [];
  const note = (_socket: Socket, _payload: Buffer, from: RemoteInfo): void => {
    seen.push(from.port);
  };
  const servers = await Promise.all([bind(t, note), bind(t, note), bind(t, note)]);
  const {stream} = open(layer);
  for (const {port} of servers) send(stream, port, 'x');
  await until(() => seen.length === 3);
  t.is(new Set(seen).size, 1);
});

test('a reply from another port arrives, with that port', async (t) => {
  const {layer} = await startAgent(t);
  const other = await bind(t, () => {});
  const {port} = await bind(t, (_socket, payload, from) => {
    other.socket.send(payload, from.port, from.address);
  });
  const {stream, ear, reports} = open(layer);
  send(stream, port, 'hello');
  await ear.until(() => ear.datagrams.length === 1);
  const [report] = reports();
  t.true(report?.type === 'datagram' && report.from.port === other.port);
});

test('a closed port is reported as ECONNREFUSED of that destination', async (t) => {
  const {layer} = await startAgent(t);
  const {stream, ear, reports} = open(layer);
  const {port} = await bind(t, echo);
  send(stream, 1, 'x');
  await ear.until(() => ear.datagrams.length === 1);
  t.like(reports()[0], {type: 'failure', errno: 'ECONNREFUSED', to: {port: 1}});
  send(stream, port, 'y');
  await ear.until(() => ear.datagrams.length === 2);
  t.is(reports()[1]?.type, 'datagram', 'other destinations go on');
});

test('a datagram larger than UDP allows is reported as EMSGSIZE', async (t) => {
  const {layer} = await startAgent(t);
  const {stream, ear, reports} = open(layer);
  send(stream, 9, new Uint8Array(65_510));
  await ear.until(() => ear.datagrams.length === 1);
  t.like(reports()[0], {type: 'failure', errno: 'EMSGSIZE'});
});

test('the largest datagram there is goes through', async (t) => {
  const {layer} = await startAgent(t);
  const {port} = await bind(t, echo);
  const {stream, ear, reports} = open(layer);
  send(stream, port, new Uint8Array(65_507));
  await ear.until(() => ear.datagrams.length === 1);
  const [report] = reports();
  t.is(report?.type === 'datagram' ? report.payload.length : 0, 65_507);
});

test('a hundred destinations are all served, although only 64 are connected', async (t) => {
  const {layer} = await startAgent(t);
  const servers = await Promise.all(Array.from({length: 100}, () => bind(t, echo)));
  const {stream, ear, reports} = open(layer);
  for (const round of [1, 2]) {
    for (const [index, {port}] of servers.entries()) {
      send(stream, port, `${index}`);
      // A burst beyond the queue of a socket that is being bound may be lost, as with any UDP.
      await ear.until(() => ear.datagrams.length === (round - 1) * 100 + index + 1);
    }
  }
  t.is(
    new Set(reports().map((report) => report.type === 'datagram' && report.from.port)).size,
    100,
  );
});

test('the port is free and not the agent’s any more when the stream ends or is reset', async (t) => {
  const {layer, context} = await startAgent(t);
  for (const leave of ['end', 'reset'] as const) {
    const {port} = await bind(t, echo);
    const {stream, ear} = open(layer);
    send(stream, port, 'x');
    await ear.until(() => ear.datagrams.length === 1);
    t.is(context.ownPorts.size, 1);
    if (leave === 'end') stream.end();
    else stream.reset('ECANCELED');
    await until(() => context.ownPorts.size === 0);
    await until(() => layer.streamCount === 0);
  }
});

test('a datagram that is no message of ours ends the tunnel', async (t) => {
  const {layer} = await startAgent(t);
  const {stream, ear} = open(layer);
  stream.sendDatagram(new Uint8Array([9, 9]));
  await ear.event('reset');
  t.true(layer.isClosed);
});

test('without a ping socket an echo is never answered, and the stream still ends', async (t) => {
  const {layer} = await startAgent(t);
  const ear = new WaitingEar();
  const stream = layer.open('echo', emitFamily(4), ear);
  stream.sendDatagram(new Uint8Array(4), new Uint8Array([127, 0, 0, 1, 0, 1, 0, 1]));
  stream.end();
  await ear.event('close');
  t.is(ear.datagrams.length, 0);
});
