/**
 * A client's machine: obeys lines of JSON, by connections from where it runs. It sends bytes that only depend on their
 * number, so that whoever counts them knows them.
 */

import {createHash} from 'node:crypto';
import {connect, type Socket} from 'node:net';
import {createInterface} from 'node:readline';

export interface Order {
  readonly host: string;
  readonly port: number;
  readonly bytes: number;
  /** How the connection ends when all was sent and echoed: by an end, a reset, the other side's reset, or not. */
  readonly localPort?: number;
  readonly how: 'end' | 'reset' | 'be reset' | 'stay';
}

export interface Outcome {
  readonly localPort: number;
  readonly sha256: string;
  readonly error?: string;
}

/** So many bytes, none like the other in its neighbourhood. */
export function bytesOf(count: number): Buffer {
  const bytes = Buffer.alloc(count);
  let state = 1;
  for (let at = 0; at < count; at++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fff_ffff;
    bytes[at] = state >> 16;
  }
  return bytes;
}

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

const open: Socket[] = [];

/** Sends, and reads as much; resolves with what came back. */
export async function obey({host, port, bytes, localPort: from, how}: Order): Promise<Outcome> {
  const socket = connect({
    host,
    port,
    allowHalfOpen: true,
    ...(from !== undefined && {localPort: from}),
  });
  const chunks: Buffer[] = [];
  let count = 0;
  const {promise, resolve} = Promise.withResolvers<Outcome>();
  const outcome = (error?: string): Outcome => ({
    localPort,
    sha256: sha256(Buffer.concat(chunks)),
    ...(error !== undefined && {error}),
  });
  let localPort = 0;
  const over = (): void => {
    if (how === 'end') socket.end();
    if (how === 'reset') socket.resetAndDestroy();
    if (how === 'stay') open.push(socket);
    resolve(outcome());
  };
  socket.on('connect', () => {
    localPort = socket.localPort ?? 0;
    socket.write(how === 'be reset' ? 'reset' : bytesOf(bytes));
    if (bytes === 0) over();
  });
  socket.on('data', (chunk: Buffer) => {
    chunks.push(chunk);
    count += chunk.length;
    if (count >= bytes) over();
  });
  socket.on('error', (error: NodeJS.ErrnoException) => resolve(outcome(error.code ?? '')));
  return await promise;
}

if (process.argv[1] === import.meta.filename) {
  process.stdout.write('ready\n');
  for await (const line of createInterface(process.stdin)) {
    process.stdout.write(`${JSON.stringify(await obey(JSON.parse(line) as Order))}\n`);
  }
}
