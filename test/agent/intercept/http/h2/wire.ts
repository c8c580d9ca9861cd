/** HTTP/2, frame by frame: ends of connections that do what no library would, and see what none would show. */

import {once} from 'node:events';
import {createServer, type Socket} from 'node:net';
import type {ExecutionContext} from 'ava';
import {Decoder} from '../../../../../agent/intercept/http/h2/hpack/decoder.ts';
import {dial, listen} from '../world.ts';

export const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
export const [DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY] = [
  0, 1, 2, 3, 4, 5, 6, 7,
] as const;
export const [WINDOW_UPDATE, CONTINUATION] = [8, 9] as const;
export const [END_STREAM, ACK, END_HEADERS, PADDED, HAS_PRIORITY] = [1, 1, 4, 8, 32] as const;

/** GET / of http, with the authority "a". */
export const GET_ROOT = Buffer.from([0x82, 0x84, 0x86, 1, 1, 97]);
/** The same as a POST. */
export const POST_ROOT = Buffer.from([0x83, 0x84, 0x86, 1, 1, 97]);
/** What wants a header x-user: me. */
export const MINE = Buffer.concat([POST_ROOT, Buffer.from('\0\x06x-user\x02me', 'latin1')]);
/** :status 200 */
export const OK = Buffer.from([0x88]);

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

export function frame(
  type: number,
  flags: number,
  stream: number,
  payload: Uint8Array = OK.subarray(1),
): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** 32 bits, as payload. */
export function word(...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  for (const [at, value] of values.entries()) bytes.writeUInt32BE(value >>> 0, at * 4);
  return bytes;
}

/** Settings, as payload. */
export function settings(...pairs: (readonly [number, number])[]): Buffer {
  const bytes = Buffer.alloc(pairs.length * 6);
  for (const [at, [id, value]] of pairs.entries()) {
    bytes.writeUInt16BE(id, at * 6);
    bytes.writeUInt32BE(value, at * 6 + 2);
  }
  return bytes;
}

/** One end of a connection. */
export class Wire {
  readonly socket: Socket;
  readonly #decoder = new Decoder(1_000_000);
  #bytes = Buffer.alloc(0);
  /** It was ended, and by what. */
  readonly closed: Promise<'end' | 'reset'>;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('error', () => {});
    this.closed = new Promise((resolve) => {
      socket.once('error', () => resolve('reset'));
      socket.once('end', () => resolve('end'));
    });
  }

  /** A client that has sent what it begins with. */
  static async client(t: ExecutionContext, port: number, ...pairs: (readonly [number, number])[]) {
    const wire = new Wire(await dial(port));
    t.teardown(() => wire.socket.destroy());
    wire.socket.write(PREFACE);
    wire.send(SETTINGS, 0, 0, settings(...pairs));
    return wire;
  }

  send(type: number, flags: number, stream: number, payload?: Uint8Array): void {
    this.socket.write(frame(type, flags, stream, payload));
  }

  /** The next frame; rejects when the connection ends before. */
  async next(): Promise<Frame> {
    for (;;) {
      const length = this.#bytes.length < 9 ? 0 : this.#bytes.readUIntBE(0, 3);
      if (this.#bytes.length >= 9 + length) {
        const head = this.#bytes;
        this.#bytes = head.subarray(9 + length);
        return {
          type: head[3] ?? 0,
          flags: head[4] ?? 0,
          stream: head.readUInt32BE(5),
          payload: head.subarray(9, 9 + length),
        };
      }
      this.#bytes = Buffer.concat([this.#bytes, await this.bytes()]);
    }
  }

  /** The next frame of a type, whatever comes before it. */
  async until(type: number): Promise<Frame> {
    for (;;) {
      const found = await this.next();
      if (found.type === type) return found;
    }
  }

  /** The next bytes. */
  async bytes(): Promise<Buffer> {
    for (;;) {
      const chunk: Buffer | null = this.socket.read();
      if (chunk !== null) return chunk;
      if (this.socket.readableEnded || this.socket.destroyed) throw new Error('it has ended');
      await Promise.race([once(this.socket, 'readable'), once(this.socket, 'end')]);
    }
  }

  /** The fields of a HEADERS frame, which has nothing but its block. */
  linesOf({payload}: Frame): string[] {
    const {fields} = this.#decoder.decode(payload, 0, payload.length);
    return fields.map(({name, value}) => `${name}: ${value}`);
  }
}

/** An application of which nothing but the bytes is there: `port`, and the next connection to it. */
export async function application(
  t: ExecutionContext,
): Promise<{port: number; accept(): Promise<Wire>}> {
  const waiting: Wire[] = [];
  const server = createServer({allowHalfOpen: true}, (socket) => {
    waiting.push(new Wire(socket));
    server.emit('wire');
  });
  const port = await listen(t, server);
  const accept = async (): Promise<Wire> => {
    while (waiting.length === 0) await once(server, 'wire');
    const wire = waiting.shift();
    if (wire === undefined) throw new Error('nobody');
    return wire;
  };
  return {port, accept};
}

/** Reads what a client begins with, and says what a server does. */
export async function greet(wire: Wire, ...pairs: (readonly [number, number])[]): Promise<Frame> {
  let said = '';
  while (said.length < PREFACE.length) {
    const chunk: Buffer | null = wire.socket.read(PREFACE.length);
    if (chunk === null) await once(wire.socket, 'readable');
    else said += chunk.toString('latin1');
  }
  if (said !== PREFACE) throw new Error(`not a preface: ${said}`);
  wire.send(SETTINGS, 0, 0, settings(...pairs));
  return wire.next();
}
