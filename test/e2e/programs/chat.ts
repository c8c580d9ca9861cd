/**
 * chat.ts URL: a WebSocket client; sends a text and 1 MiB of bytes, and prints whether they came back.
 */

import {once} from 'node:events';
import {WebSocket} from 'ws';

const socket = new WebSocket(process.argv[2] ?? '');
await once(socket, 'open');

async function isEchoed(message: string | Uint8Array): Promise<boolean> {
  const answer = once(socket, 'message');
  socket.send(message);
  const [data, isBinary] = (await answer) as [Buffer, boolean];
  return isBinary !== (typeof message === 'string') && data.equals(Buffer.from(message));
}

const bytes = Uint8Array.from({length: 1024 ** 2}, (_, i) => i % 251);
process.stdout.write(`text ${await isEchoed('how are you?')}\nbytes ${await isEchoed(bytes)}\n`);
socket.close();
