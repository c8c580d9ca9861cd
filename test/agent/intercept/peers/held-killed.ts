/**
 * Run in a network namespace of its own (`peers.test.ts`): an agent is killed while an answer of the application, and its trailers, wait
 * for a client's window, which a program's answer has used up. Writes how much of it came, and whether the trailers did.
 */

import {once} from 'node:events';
import {createServer, type ServerHttp2Stream, sensitiveHeaders} from 'node:http2';
import {connect} from 'node:net';
import {
  ACK,
  DATA,
  END_HEADERS,
  END_STREAM,
  GET_ROOT,
  HEADERS,
  MINE,
  PING,
  PREFACE,
  RST_STREAM,
  SETTINGS,
  settings,
  WINDOW_UPDATE,
  Wire,
  word,
} from '../http/h2/wire.ts';
import {listens, stealing} from './killing.ts';

const [APPLICATION, PROGRAM] = [8_080, 8_081];
const [BYTES, WINDOW] = [20_000, 65_535];

async function serve(port: number, bytes: number): Promise<void> {
  const server = createServer().on('stream', (stream: ServerHttp2Stream) => {
    stream.on('error', () => undefined);
    stream.respond({':status': 200}, {waitForTrailers: true});
    // Nobody puts it into a table.
    const trailers = {'x-end': 'yes', [sensitiveHeaders]: ['x-end']};
    stream.on('wantTrailers', () => stream.sendTrailers(trailers));
    stream.end(Buffer.alloc(bytes));
  });
  server.listen(port, '127.0.0.1');
  await listens(port);
}

await serve(APPLICATION, BYTES);
await serve(PROGRAM, 1_000_000);
const mine = {kind: 'header', pattern: {source: '^x-user: me$', flags: 'i'}} as const;
const agent = await stealing(APPLICATION, mine, PROGRAM);

const socket = connect({host: '127.0.0.1', port: APPLICATION, noDelay: true});
await once(socket, 'connect');
const wire = new Wire(socket);
socket.write(PREFACE);
wire.send(SETTINGS, 0, 0, settings());
wire.send(HEADERS, END_HEADERS | END_STREAM, 1, MINE);
for (let bytes = 0; bytes < WINDOW; ) {
  const {type, flags, payload} = await wire.next();
  // It has heard that it is to have no table, and says so with its next request.
  if (type === SETTINGS && flags !== ACK) wire.send(SETTINGS, ACK, 0);
  if (type === DATA) bytes += payload.length;
}
wire.send(HEADERS, END_HEADERS | END_STREAM, 3, Buffer.concat([Buffer.from([0x20]), GET_ROOT]));
await wire.until(HEADERS);
// The agent answers the first, which is behind what the program has said, and the application the second, behind its answer.
wire.send(PING, 0, 0, Buffer.from('behind..'));
await wire.until(PING);
wire.send(PING, 0, 0, Buffer.from('and more'));
await wire.until(PING);

await agent.kill();
wire.send(WINDOW_UPDATE, 0, 0, word(WINDOW));
let bytes = 0;
let resets = 0;
for (let isOver = false; !isOver; ) {
  const {type, flags, stream, payload} = await wire.next();
  if (type === RST_STREAM) resets++;
  if (type === DATA && stream === 3) bytes += payload.length;
  isOver = stream === 3 && (flags & END_STREAM) !== 0;
}
process.stdout.write(JSON.stringify({isWhole: bytes === BYTES, resets}));
process.exit();
