/**
 * Run in a network namespace of its own (`peers.test.ts`): an agent is killed before a client of HTTP/2, of whom it has asked to do without
 * a table of compression, has acknowledged that. Writes what became of his requests as JSON.
 */

import {connect} from 'node:net';
import {until} from '../../../helpers/until.ts';
import {
  ACK,
  DATA,
  END_HEADERS,
  END_STREAM,
  frame,
  GET_ROOT,
  HEADERS,
  PREFACE,
  RST_STREAM,
  SETTINGS,
} from '../http/h2/wire.ts';
import {stealing} from './killing.ts';
import {serveHttp2} from './servers.ts';

const APPLICATION = 8_080;

await serveHttp2('application', APPLICATION);
const mine = {kind: 'header', pattern: {source: '^x-user: me$', flags: ''}} as const;
const agent = await stealing(APPLICATION, mine, await serveHttp2('program'));

/** Of each stream, what it was answered, or reset by. */
const answers: Record<number, string> = {};
/** Streams whose answer is whole. */
const ended = new Set<number>();
let settings = 0;
let unread = Buffer.alloc(0);
const socket = connect(APPLICATION, '127.0.0.1');
socket.on('close', () => (answers[0] = 'closed'));
socket.on('error', () => undefined);
socket.on('data', (bytes) => {
  unread = Buffer.concat([unread, bytes]);
  while (unread.length >= 9 && unread.length >= 9 + unread.readUIntBE(0, 3)) {
    const end = 9 + unread.readUIntBE(0, 3);
    const [type, flags, stream] = [unread[3], unread[4] ?? 0, unread.readUInt32BE(5)];
    const payload = unread.subarray(9, end);
    if (type === SETTINGS && (flags & ACK) === 0) settings++;
    if (type === DATA) answers[stream] = (answers[stream] ?? '') + payload;
    if ((type === DATA || type === HEADERS) && (flags & END_STREAM) !== 0) ended.add(stream);
    if (type === RST_STREAM) answers[stream] = `reset by ${payload.readUInt32BE()}`;
    unread = unread.subarray(end);
  }
});
const ask = (stream: number, ...head: Uint8Array[]): void =>
  void socket.write(frame(HEADERS, END_HEADERS | END_STREAM, stream, Buffer.concat(head)));
const acknowledge = (): void => void socket.write(frame(SETTINGS, ACK, 0));

socket.write(PREFACE);
socket.write(frame(SETTINGS, 0, 0));
// The application's, which is acknowledged, and then ours, which is not.
await until(() => settings === 1);
acknowledge();
ask(1, GET_ROOT, Buffer.from('\x40\x06x-user\x02me', 'latin1'));
await until(() => settings === 2 && ended.has(1));
await agent.kill();
// By the table.
ask(3, GET_ROOT, Buffer.from([0xbe]));
await until(() => answers[3] !== undefined);
acknowledge();
// It is given up.
ask(5, Buffer.from([0x20]), GET_ROOT);
await until(() => ended.has(5) || answers[0] !== undefined);
process.stdout.write(JSON.stringify(answers));
process.exit();
