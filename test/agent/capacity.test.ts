import {once} from 'node:events';
import {readFileSync} from 'node:fs';
import {get} from 'node:http';
import {connect} from 'node:net';
import type {Duplex} from 'node:stream';
import {text} from 'node:stream/consumers';
import test from 'ava';
import {WebSocket} from 'ws';
import {Capacity, memoryFor} from '../../agent/capacity.ts';
import type {ProtocolError} from '../../tunnel/errors.ts';
import {INITIAL_WINDOW_BYTES} from '../../tunnel/limits.ts';
import {emitEndpoint, type TunnelEndpoint} from '../../tunnel/messages.ts';
import type {Mux} from '../../tunnel/mux.ts';
import {callPing} from '../../tunnel/target.ts';
import {dial, listen, startAgent, WaitingEar} from '../helpers/agent.ts';
import {join, ready, startListeningAgent} from '../helpers/listening-agent.ts';
import {freePort} from '../helpers/ports.ts';
import {Ear, feed, pattern} from '../helpers/tunnel.ts';
import {until} from '../helpers/until.ts';

const MEBIBYTE = 1_048_576;

function residentBytes(pid: number | undefined): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
}

test('the memory of clients follows the limit of the container', (t) => {
  t.is(memoryFor(256 * MEBIBYTE, false), 96 * MEBIBYTE);
  t.is(memoryFor(64 * MEBIBYTE, false), 24 * MEBIBYTE);
  t.is(memoryFor(MEBIBYTE, false), 8 * MEBIBYTE, 'too little to work with');
  t.is(memoryFor(2 ** 36, false), 256 * MEBIBYTE, 'more is of no use');
  for (const none of [0, 2 ** 63, 2 ** 64]) {
    t.is(memoryFor(none, false), 48 * MEBIBYTE);
    t.is(memoryFor(none, true), 256 * MEBIBYTE);
  }
});

/** A server of endless bytes, and one that reads none. */
async function stallers(t: Parameters<typeof listen>[0]): Promise<{
  source: TunnelEndpoint;
  sink: TunnelEndpoint;
}> {
  const piece = new Uint8Array(MEBIBYTE);
  const source = await listen(t, (socket) => {
    const go = (): void => {
      while (socket.write(piece));
    };
    socket.on('drain', go);
    go();
  });
  return {source, sink: await listen(t, (socket) => socket.pause())};
}

test('clients that are all stuck, both ways: the agent grows by no more than it may, and goes on', async (t) => {
  const mayUse = 16 * MEBIBYTE;
  const metricsPort = await freePort();
  const args = ['--memory', '16', '--metrics', `127.0.0.1:${metricsPort}`, '--idle-ttl', '3600'];
  const agent = await ready(await startListeningAgent(t, {args}));
  const {source, sink} = await stallers(t);
  const sample = async (name: string): Promise<number> => {
    const [response] = await once(get({port: metricsPort, path: '/metrics'}), 'response');
    const page = await text(response);
    const lines = page.split('\n').filter((line) => line.startsWith(`mirrord_agent_${name}`));
    return lines.reduce((sum, line) => sum + Number(line.split(' ')[1]), 0);
  };
  const before = residentBytes(agent.child.pid);
  // Each would take 56 MiB, down and up, by its own bounds alone.
  const clients: {mux: Mux; connection: Duplex}[] = [];
  for (let client = 0; client < 4; client++) {
    const joined = await join(agent.port, {mayPause: true});
    clients.push(joined);
    const {mux, connection} = joined;
    for (let index = 0; index < 32; index++) {
      const up = new Ear();
      up.stream = mux.open('tcp', emitEndpoint(sink), up);
      feed(up.stream, up, new Uint8Array(8 * MEBIBYTE));
    }
    // Nothing is opened before there is something to read.
    await callPing(mux);
    for (let index = 0; index < 96; index++) {
      mux.open('tcp', emitEndpoint(source), new Ear({consume: false}), 8 * MEBIBYTE);
    }
    await until(() => mux.queuedBytes === 0 || mux.streamCount < 128);
    connection.pause();
  }
  // It has come to rest when nothing moves between two looks.
  let last = -1;
  await until(async () => {
    const now = await sample('tunnel_sent_bytes_total');
    const isAtRest = now === last;
    last = now;
    if (!isAtRest) await new Promise((resolve) => setTimeout(resolve, 300));
    return isAtRest;
  });
  const grown = residentBytes(agent.child.pid) - before;
  t.log(`${Math.round(grown / MEBIBYTE)} MiB`, await sample('memory_bytes'));
  // What Node needs for a thousand connections comes on top.
  t.true(grown < mayUse + 40 * MEBIBYTE, `${grown}`);
  t.true((await sample('memory_bytes{use="queued"}')) > 3 * MEBIBYTE);
  t.true((await sample('memory_bytes{use="held"}')) <= 1.25 * 8 * MEBIBYTE);
  t.true((await sample('memory_stalls_total{use="queued"}')) > 0);
  // Another client works beside them.
  const {mux} = await join(agent.port);
  const echo = await listen(t, (socket) => socket.pipe(socket));
  const {stream, ear} = dial(mux, echo);
  const bytes = pattern(3_000_000);
  feed(stream, ear, bytes, () => stream.end());
  await ear.event('close');
  t.true(ear.bytes.equals(bytes));
  // And all is given back when they go.
  for (const client of clients) client.connection.destroy();
  await until(async () => (await sample('clients_connected')) === 1);
  await until(async () => (await sample('memory_bytes')) === 0);
  mux.close();
});

test('what does not fit into the memory resets its connection with ENOBUFS, and only that', async (t) => {
  const capacity = new Capacity(8 * MEBIBYTE);
  const {layer} = await startAgent(t, {context: {capacity}});
  const sink = await listen(t, (socket) => socket.pause());
  const small = dial(layer, sink);
  await small.ear.event('opened');
  // Somebody else holds nearly all of it.
  capacity.memory.held.change(capacity.memory.held.capBytes);
  small.stream.write(new Uint8Array(10));
  const {stream, ear} = dial(layer, sink);
  feed(stream, ear, new Uint8Array(16 * MEBIBYTE));
  t.is(await ear.event('reset'), 'reset ENOBUFS');
  t.is(capacity.connectionsDropped, 1);
  await callPing(layer);
  t.deepEqual(small.ear.events, ['opened']);
  await until(() => capacity.memory.held.bytes === capacity.memory.held.capBytes);
});

test('an agent has so many clients; one more is told so, and comes in when one has gone', async (t) => {
  const capacity = new Capacity(8 * MEBIBYTE);
  const layers: Mux[] = [];
  for (let count = 0; count < 64; count++) {
    layers.push((await startAgent(t, {context: {capacity}})).layer);
  }
  const error = await t.throwsAsync<ProtocolError>(startAgent(t, {context: {capacity}}));
  t.is(error?.code, 'TOO_MANY_CLIENTS');
  t.is(error?.origin, 'peer');
  t.is(capacity.clientsRefused, 1);
  layers[0]?.close();
  await until(async () => {
    const again = await startAgent(t, {context: {capacity}}).catch(() => undefined);
    return again !== undefined;
  });
});

test('streams are counted over all clients, and one that makes no sense is not', async (t) => {
  const capacity = new Capacity(8 * MEBIBYTE);
  const {maxStreams} = capacity;
  t.is(maxStreams, 682);
  const hostile = await startAgent(t, {context: {capacity}});
  hostile.layer.open('tcp', new Uint8Array(1), new Ear());
  await until(() => hostile.layer.isClosed);
  const [one, other] = [
    await startAgent(t, {context: {capacity}}),
    await startAgent(t, {context: {capacity}}),
  ];
  const ears = Array.from({length: maxStreams + 5}, (_, index) => {
    const ear = new WaitingEar();
    const {layer} = index % 2 === 0 ? one : other;
    ear.stream = layer.open('udp', new Uint8Array([4]), ear);
    return ear;
  });
  await Promise.all(ears.map((ear) => ear.until(() => ear.events.length > 0)));
  t.is(ears.filter(({events}) => events[0] === 'refused EMFILE').length, 5);
  one.layer.close();
  await until(async () => {
    const ear = new WaitingEar();
    ear.stream = other.layer.open('udp', new Uint8Array([4]), ear);
    await ear.until(() => ear.events.length > 0);
    return ear.events[0] === 'opened';
  });
  t.pass();
});

test('who has upgraded but shown no token is a stranger still, of whom there are few', async (t) => {
  const agent = await ready(await startListeningAgent(t));
  const {mux} = await join(agent.port);
  const strangers: WebSocket[] = [];
  let ended = 0;
  for (let count = 0; count < 80; count++) {
    const connection = connect(agent.port, '127.0.0.1');
    const webSocket = new WebSocket('ws://agent/', {createConnection: () => connection as never});
    webSocket.on('error', () => {});
    webSocket.on('close', () => ended++);
    strangers.push(webSocket);
  }
  const isOpen = ({readyState}: WebSocket): boolean => readyState === WebSocket.OPEN;
  await until(() => strangers.filter(isOpen).length + ended === 80);
  t.is(ended, 16);
  await callPing(mux);
  for (const webSocket of strangers) webSocket.terminate();
  // There is room again, which clients take none of.
  await until(async () => {
    const joined = await join(agent.port).catch(() => undefined);
    joined?.mux.close();
    return joined !== undefined;
  });
  mux.close();
  t.is(await agent.exit, 0);
});

test('one stalled stream among a thousand slows no other', async (t) => {
  const agent = await ready(await startListeningAgent(t));
  const {mux} = await join(agent.port);
  const {sink, source} = await stallers(t);
  // Stalled both ways: a server that does not read, and a client that consumes nothing.
  const up = dial(mux, sink);
  feed(up.stream, up.ear, new Uint8Array(32 * MEBIBYTE));
  const down = dial(mux, source, {consume: false});
  await down.ear.until(() => down.ear.received === INITIAL_WINDOW_BYTES);
  const echo = await listen(t, (socket) => socket.pipe(socket));
  const others = Array.from({length: 998}, () => {
    const ear = new WaitingEar();
    const stream = mux.open('tcp', emitEndpoint(echo), ear, 16_384);
    ear.stream = stream;
    return {ear, stream};
  });
  const told = async (count: number): Promise<void> => {
    await Promise.all(others.map(({ear}) => ear.until(() => ear.events.length >= count)));
  };
  await told(1);
  // More than a window, so that each needs credit while the stalled ones wait for theirs.
  const bytes = pattern(40_000);
  for (const {stream, ear} of others) feed(stream, ear, bytes, () => stream.end());
  await told(2);
  t.deepEqual([...new Set(others.map(({ear}) => ear.events.slice(0, 2).join()))], ['opened,end']);
  t.true(others.every(({ear}) => ear.bytes.equals(bytes)));
  await until(() => mux.streamCount === 2);
  t.is(down.ear.received, INITIAL_WINDOW_BYTES, 'all that was granted, and no more');
  t.is(up.stream.writable, 0);
  mux.close();
});
