import {createSocket} from 'node:dgram';
import {once} from 'node:events';
import type {Socket} from 'node:net';
import test, {type ExecutionContext} from 'ava';
import {type Answer, decode, encode, TRUNCATED_RESPONSE} from 'dns-packet';
import {askNameServer} from '../../../layer/forward/name-server.ts';
import {emitFrame, FrameReader} from '../../../layer/routing/dns/frames.ts';
import {readAddresses} from '../../../layer/routing/dns/message.ts';
import type {TunnelEndpoint} from '../../../tunnel/messages.ts';
import {listen, startAgent} from '../../helpers/agent.ts';

/** Returns an answer to a query: these addresses, or that it is cut off. */
function answerTo(query: Buffer, addresses: readonly string[] | 'cut off'): Buffer {
  const {id = 0, questions = []} = decode(query);
  const base = {type: 'response', id, questions} as const;
  if (addresses === 'cut off') return encode({...base, flags: TRUNCATED_RESPONSE});
  const name = questions[0]?.name ?? '';
  const answers = addresses.map((data): Answer => ({type: 'A', name, ttl: 5, data}));
  return encode({...base, answers});
}

/** A name server of either transport; `onTcp` is what it does with a connection's query. */
async function serve(
  t: ExecutionContext,
  byUdp: readonly string[] | 'cut off',
  onTcp: (socket: Socket, query: Uint8Array) => unknown,
): Promise<{server: TunnelEndpoint; asked: string[]}> {
  const asked: string[] = [];
  const server = await listen(t, (socket) => {
    const reader = new FrameReader();
    socket.on('data', (chunk) => {
      for (const query of reader.push(chunk)) {
        asked.push('tcp');
        onTcp(socket, query);
      }
    });
  });
  const udp = createSocket('udp4', (query, {port, address}) => {
    asked.push('udp');
    udp.send(answerTo(query, byUdp), port, address);
  });
  t.teardown(() => udp.close());
  await once(udp.bind(server.port, '127.0.0.1'), 'listening');
  return {server, asked};
}

const question = {name: 'many.example', type: 'A'} as const;
// More than fits into any datagram that one may send.
const many = Array.from({length: 300}, (_, at) => `10.0.${at >> 8}.${at & 255}`);

test('an answer that is whole is taken as it comes, by UDP', async (t) => {
  const {layer} = await startAgent(t);
  const {server, asked} = await serve(t, ['10.0.0.1'], () => t.fail());
  const answer = await askNameServer(layer, server, question);
  t.deepEqual(readAddresses(answer ?? Buffer.of())[0]?.address, '10.0.0.1');
  t.deepEqual(asked, ['udp']);
});

test('an answer that is cut off is asked for again by TCP, in pieces as it may come', async (t) => {
  const {layer} = await startAgent(t);
  const {server, asked} = await serve(t, 'cut off', (socket, query) => {
    const frame = emitFrame(answerTo(Buffer.from(query), many));
    socket.write(frame.subarray(0, 1));
    setImmediate(() => socket.write(frame.subarray(1)));
  });
  const answer = await askNameServer(layer, server, question);
  t.deepEqual(
    readAddresses(answer ?? Buffer.of()).map(({address}) => address),
    many,
  );
  t.deepEqual(asked, ['udp', 'tcp']);
});

test('where TCP gives nothing, what came by UDP has to do', async (t) => {
  const {layer} = await startAgent(t);
  const {server, asked} = await serve(t, 'cut off', (socket) => socket.end());
  const answer = await askNameServer(layer, server, question);
  t.deepEqual(readAddresses(answer ?? Buffer.of()), []);
  t.is(decode(Buffer.from(answer ?? [])).questions?.[0]?.name, question.name);
  t.deepEqual(asked, ['udp', 'tcp']);
});
