import {once} from 'node:events';
import {connect, type Socket} from 'node:net';
import test, {type ExecutionContext} from 'ava';
import {WebSocket} from 'ws';
import {codeFromNumber, PROTOCOL_CODES, type ProtocolCode} from '../../tunnel/errors.ts';
import {emitOffset, emitOpen, emitOpened, emitPing, FRAME, newFrame} from '../../tunnel/frames.ts';
import {CAPABILITY, emitHello, TOKEN_BYTES} from '../../tunnel/handshake.ts';
import {DEFAULT_LIMITS} from '../../tunnel/limits.ts';
import {emitEndpoint, emitFamily} from '../../tunnel/messages.ts';
import {emitResume} from '../../tunnel/resume-frames.ts';
import {callPing} from '../../tunnel/target.ts';
import type {StreamKind} from '../../tunnel/types.ts';
import {listen} from '../helpers/agent.ts';
import {join, type ListeningAgent, ready, startListeningAgent} from '../helpers/listening-agent.ts';
import {NONE, pattern, TOKEN} from '../helpers/tunnel.ts';
import {until} from '../helpers/until.ts';

const terms = {capabilities: CAPABILITY.resume, limits: DEFAULT_LIMITS, ticket: NONE};
const hello = (fields = {}): Uint8Array =>
  emitHello({lowest: 1, highest: 1, token: TOKEN, ...terms, ...fields});
const open = (id: number, kind: StreamKind = 'udp', body = emitFamily(4)): Uint8Array =>
  emitOpen(id, {kind, credit: 1000, body});
const data = (id: number, length: number): Uint8Array => newFrame(FRAME.data, id, length);
/** A call of a method that has no end and takes no data: its stream stays. */
const CALL = Buffer.from([0x81, 0xa6, ...Buffer.from('method'), 0xa9, ...Buffer.from('lifecycle')]);
const call = (id: number, body: Uint8Array = CALL): Uint8Array => open(id, 'call', body);
const resume = (fields = {}): Uint8Array =>
  emitResume({version: 1, token: TOKEN, ticket: new Uint8Array(16), received: 0, ...fields});

/** A connection of ours to the agent, upgraded. */
async function upgrade(port: number): Promise<{webSocket: WebSocket; connection: Socket}> {
  const connection = connect(port, '127.0.0.1');
  const webSocket = new WebSocket('ws://agent/', {
    perMessageDeflate: false,
    createConnection: () => connection as never,
  });
  await once(webSocket, 'open');
  webSocket.on('error', () => {});
  return {webSocket, connection};
}

/** Resolves when the connection is closed, in whatever way. */
function closed(connection: Socket): Promise<void> {
  connection.on('error', () => {});
  return new Promise((resolve) => connection.once('close', () => resolve()));
}

/** Says all of it, and returns the code that the agent ends the connection with. */
async function codeFor(port: number, messages: readonly (Uint8Array | string)[]): Promise<string> {
  const {webSocket} = await upgrade(port);
  let code: ProtocolCode | undefined;
  webSocket.on('message', (message: Buffer) => {
    for (let offset = 0; offset < message.length; ) {
      const type = message[offset];
      if (type === FRAME.close) code = codeFromNumber(message.readUInt16BE(offset + 8));
      offset += 8 + message.readUIntBE(offset + 1, 3);
    }
  });
  for (const message of messages) webSocket.send(message);
  const [status] = await once(webSocket, 'close');
  return code ?? `status ${status}`;
}

let agent: ListeningAgent;
let bystander: Awaited<ReturnType<typeof join>>;

test.serial.before('an agent with a client who does nothing wrong', async (t) => {
  // It ends with the hook below: what ends with a test would end with this one.
  const context = {teardown() {}} as unknown as ExecutionContext;
  agent = await ready(await startListeningAgent(context));
  process.once('exit', () => agent.child.kill('SIGKILL'));
  bystander = await join(agent.port);
  t.true(bystander.mux.isReady);
});

test.serial.after.always('the agent ends with its last client', async (t) => {
  bystander.mux.close();
  t.is(await agent.exit, 0);
});

const breach = test.macro({
  async exec(t, messages: readonly (Uint8Array | string)[], code: string) {
    t.is(await codeFor(agent.port, messages), code);
    // What is wrong for one is nothing to another.
    await callPing(bystander.mux);
  },
  title: (name, _messages, code) => `an agent ends the connection of who sends ${name}: ${code}`,
});

test('no handshake, but a stream', breach, [open(1)], 'HANDSHAKE_EXPECTED');
test('another protocol', breach, [newFrame(FRAME.hello, 0, 62)], 'HANDSHAKE_MALFORMED');
test('a newer version', breach, [hello({lowest: 2, highest: 9})], 'VERSION_MISMATCH');
test('a wrong token', breach, [hello({token: new Uint8Array(TOKEN_BYTES)})], 'BAD_TOKEN');
test('a wrong token to resume', breach, [resume({token: TOKEN.with(0, 1)})], 'BAD_TOKEN');
test('a ticket nobody has', breach, [resume()], 'RESUME_UNKNOWN');
test('RESUME of another version', breach, [resume({version: 7})], 'VERSION_MISMATCH');
test('an ACK of what never was', breach, [hello(), emitOffset(FRAME.ack, 0, 99)], 'RESUME_COUNT');
test('text', breach, [hello(), 'text'], 'MESSAGE_NOT_BINARY');
test('a message over the limit', breach, [hello(), new Uint8Array(70_000)], 'status 1009');
test('a type nobody knows', breach, [hello(), newFrame(99, 0, 0)], 'FRAME_UNKNOWN');
test('half a frame', breach, [hello(), data(1, 9).subarray(0, 12)], 'FRAME_TRUNCATED');
test('a frame over its limit', breach, [hello(), newFrame(FRAME.ping, 0, 9)], 'FRAME_TOO_BIG');
test('a second HELLO', breach, [hello(), hello()], 'FRAME_MALFORMED');
test('an id used twice', breach, [hello(), call(1), call(1)], 'STREAM_ID');
test('data for no stream', breach, [hello(), data(5, 1)], 'STREAM_UNKNOWN');
test('data on a udp stream', breach, [hello(), open(1), data(1, 1)], 'STREAM_KIND');
test(
  'an answer to its own question',
  breach,
  [hello(), call(1), emitOpened(1, 0, NONE)],
  'STREAM_STATE',
);
test(
  'more than was granted',
  breach,
  [hello(), call(1), ...Array.from({length: 5}, () => data(1, 65_536))],
  'FLOW_CONTROL',
);
test('an end elsewhere', breach, [hello(), call(1), emitOffset(FRAME.fin, 1, 7)], 'FINAL_OFFSET');
test(
  'a flood of pings',
  breach,
  [hello(), ...Array.from({length: 200}, () => emitPing(FRAME.ping, new Uint8Array(8)))],
  'PING_RATE',
);
test('an endpoint that is none', breach, [hello(), open(1, 'tcp', NONE)], 'BODY_MALFORMED');
test(
  'a family that is none',
  breach,
  [hello(), open(1, 'udp', new Uint8Array([5]))],
  'BODY_MALFORMED',
);
test('a call that is none', breach, [hello(), call(1, new Uint8Array([0xc1]))], 'CALL_MALFORMED');
test(
  'a call of 2^32 elements',
  breach,
  [hello(), call(1, new Uint8Array([0xdd, 255, 255, 255, 255]))],
  'CALL_MALFORMED',
);
test(
  'a call nested too deep',
  breach,
  [hello(), call(1, new Uint8Array(1000).fill(0x91))],
  'CALL_TOO_DEEP',
);
test('an agent ends the connection of who breaks the WebSocket protocol', async (t) => {
  const {webSocket, connection} = await upgrade(agent.port);
  webSocket.send(hello());
  // A frame of a client without a mask.
  connection.write(new Uint8Array([0x82, 1, 0]));
  const [status] = await once(webSocket, 'close');
  t.is(status, 1002);
  await until(() => agent.stderr().includes('WEBSOCKET_MALFORMED'));
  await callPing(bystander.mux);
});

test('an agent ends the connection of who does not speak HTTP', async (t) => {
  for (const bytes of [pattern(5000), Buffer.from('GET / HTTP/1.1\r\n'.repeat(20_000))]) {
    const connection = connect(agent.port, '127.0.0.1');
    connection.resume().write(bytes);
    await closed(connection);
  }
  await callPing(bystander.mux);
  t.is(agent.child.exitCode, null);
});

test('a breach ends the session at once: it is not kept for another connection', async (t) => {
  for (const message of [new Uint8Array(70_000), newFrame(99, 0, 0)]) {
    const target = Promise.withResolvers<Socket>();
    const endpoint = await listen(t, (socket) => {
      // An agent that does not know yet that it is connected closes, and does not reset.
      target.resolve(socket.resume().on('end', () => socket.end()));
    });
    const {webSocket} = await upgrade(agent.port);
    webSocket.send(hello());
    webSocket.send(open(1, 'tcp', emitEndpoint(endpoint)));
    const gone = closed(await target.promise);
    webSocket.send(message);
    await gone;
  }
  t.false(agent.stderr().includes('client lost'));
});

test('each code has a number and a sentence of its own', (t) => {
  const all = Object.values(PROTOCOL_CODES);
  t.is(new Set(all.map(({number}) => number)).size, all.length);
  t.is(new Set(all.map(({text}) => text)).size, all.length);
});
