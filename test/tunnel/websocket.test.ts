import {once} from 'node:events';
import {createServer} from 'node:http';
import {type AddressInfo, connect} from 'node:net';
import {type Duplex, duplexPair} from 'node:stream';
import test, {type ExecutionContext} from 'ava';
import {WebSocket} from 'ws';
import {Mux} from '../../tunnel/mux.ts';
import type {MuxHandler} from '../../tunnel/mux-types.ts';
import {acceptUpgrade} from '../../tunnel/websocket/handshake.ts';
import {bindWebSocket, connectTunnel} from '../../tunnel/websocket.ts';
import {Ear, feed, NONE, pattern, seeded, TOKEN} from '../helpers/tunnel.ts';

const common = {token: TOKEN, random: seeded(1)};

/** Accepts every stream, returns the bytes to their sender, and tells how it ended. */
function echoHandler(ended: (code: string) => void): MuxHandler {
  return {
    onOpen(stream) {
      const waiting: Uint8Array[] = [];
      let received = 0;
      let isEnding = false;
      const flush = (): void => {
        for (let first = waiting[0]; first !== undefined; first = waiting[0]) {
          const count = Math.min(first.length, stream.writable);
          if (count === 0) return;
          stream.write(first.subarray(0, count));
          received += count;
          stream.consumed(received);
          if (count === first.length) waiting.shift();
          else waiting[0] = first.subarray(count);
        }
        if (isEnding) stream.end();
      };
      stream.handler = {
        onData(chunk) {
          waiting.push(chunk);
          flush();
        },
        onEnd() {
          isEnding = true;
          flush();
        },
        onWritable: flush,
      };
      stream.accept(NONE);
    },
    onClose: (error) => ended(error?.code ?? 'NO_ERROR'),
  };
}

interface Ends {
  layer: Mux;
  agent: Promise<Mux>;
  layerEnded: Promise<string>;
  agentEnded: Promise<string>;
}

/** Joins a layer and an agent by the two ends of a connection. */
function join(layerEnd: Duplex, agentEnd: Duplex): Ends {
  const layerEnded = Promise.withResolvers<string>();
  const agentEnded = Promise.withResolvers<string>();
  const agent = Promise.withResolvers<Mux>();
  const http = createServer();
  http.on('upgrade', (request, socket, head) => {
    acceptUpgrade(request, socket);
    const mux = new Mux({...common, role: 'agent'}, echoHandler(agentEnded.resolve));
    bindWebSocket(socket, head, mux);
    agent.resolve(mux);
  });
  http.emit('connection', agentEnd);
  const layer = connectTunnel(layerEnd, common, {
    onClose: (error) => layerEnded.resolve(error?.code ?? 'NO_ERROR'),
  });
  return {
    layer,
    agent: agent.promise,
    layerEnded: layerEnded.promise,
    agentEnded: agentEnded.promise,
  };
}

async function joinByLoopback(): Promise<Ends & {cut(): void}> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  // A plain listener: its sockets are handed on as they are.
  server.removeAllListeners('connection');
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
  const [socket] = await once(server, 'connection');
  server.close();
  return {...join(client, socket), cut: () => client.destroy()};
}

async function sendAndReturn(t: ExecutionContext, layer: Mux, bytes: Uint8Array): Promise<void> {
  const closed = Promise.withResolvers<void>();
  const ear = new Ear();
  ear.onClose = () => closed.resolve();
  ear.stream = layer.open('tcp', NONE, ear);
  const {stream} = ear;
  feed(stream, ear, bytes, () => stream.end());
  await closed.promise;
  t.true(ear.bytes.equals(bytes));
}

test('20 MB go there and back over a real connection, on several streams at once', async (t) => {
  const {layer, layerEnded, agentEnded} = await joinByLoopback();
  await Promise.all([1, 2, 3, 4].map((seed) => sendAndReturn(t, layer, pattern(5_000_000, seed))));
  layer.close();
  t.deepEqual(await Promise.all([layerEnded, agentEnded]), ['NO_ERROR', 'NO_ERROR']);
});

test('an in-memory connection, which keeps what it is given, works too', async (t) => {
  const [one, other] = duplexPair();
  const {layer, agentEnded} = join(one, other);
  await sendAndReturn(t, layer, pattern(2_000_000));
  layer.close();
  t.is(await agentEnded, 'NO_ERROR');
});

test('small frames of one turn of the event loop share a message', async (t) => {
  const {layer} = await joinByLoopback();
  await sendAndReturn(t, layer, NONE);
  const before = layer.counters.messagesOut;
  const all = Array.from({length: 50}, () => sendAndReturn(t, layer, new Uint8Array([1])));
  await Promise.all(all);
  const messages = layer.counters.messagesOut - before;
  t.true(messages < 50, `${messages} messages for 50 streams`);
  layer.close();
});

test('many datagrams do not wait for the end of the turn', async (t) => {
  const {layer} = await joinByLoopback();
  await sendAndReturn(t, layer, NONE);
  const stream = layer.open('udp', NONE, {});
  const before = layer.counters.messagesOut;
  for (let count = 0; count < 100; count++) stream.sendDatagram(new Uint8Array(1000));
  await new Promise<void>((resolve) => process.nextTick(resolve));
  t.true(layer.counters.messagesOut > before);
  layer.close();
});

test('what somebody waits for does not wait for the end of the turn either', async (t) => {
  const {layer} = await joinByLoopback();
  await sendAndReturn(t, layer, NONE);
  const opened = Promise.withResolvers<void>();
  const stream = layer.open('call', NONE, {onOpened: () => opened.resolve()});
  await opened.promise;
  const next = () => new Promise<void>((resolve) => process.nextTick(resolve));
  const before = layer.counters.messagesOut;
  stream.write(new Uint8Array(10));
  await next();
  t.is(layer.counters.messagesOut, before);
  stream.write(new Uint8Array(10));
  stream.hurry();
  await next();
  t.is(layer.counters.messagesOut, before + 1, 'both go together');
  layer.close();
});

test('a connection that breaks ends both tunnels with CONNECTION_LOST', async (t) => {
  const {layer, layerEnded, agentEnded, cut} = await joinByLoopback();
  await sendAndReturn(t, layer, NONE);
  cut();
  t.deepEqual(await Promise.all([layerEnded, agentEnded]), ['CONNECTION_LOST', 'CONNECTION_LOST']);
});

test('a server that is no agent ends the tunnel', async (t) => {
  const [one, other] = duplexPair();
  const {layer, layerEnded} = join(one, duplexPair()[0]);
  other.end('HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n');
  t.is(await layerEnded, 'CONNECTION_LOST');
  t.true(layer.isClosed);
});

test('a text message and a message over the limit end the tunnel', async (t) => {
  for (const [message, code] of [
    ['text', 'MESSAGE_NOT_BINARY'],
    [new Uint8Array(70_000), 'MESSAGE_TOO_BIG'],
  ] as const) {
    const [one, other] = duplexPair();
    const ended = Promise.withResolvers<string>();
    const http = createServer();
    http.on('upgrade', (request, socket, head) => {
      acceptUpgrade(request, socket);
      bindWebSocket(socket, head, new Mux({...common, role: 'agent'}, echoHandler(ended.resolve)));
    });
    http.emit('connection', other);
    const client = new WebSocket('ws://agent/', {createConnection: () => one as never});
    client.on('error', () => {});
    client.on('open', () => client.send(message));
    t.is(await ended.promise, code);
    client.terminate();
  }
});
