/** The HTTP part of the interceptor between real sockets: a client, an application, and programs that want requests. */

import {type EventEmitter, once} from 'node:events';
import {type AddressInfo, connect, createServer, type Server, type Socket} from 'node:net';
import type {ExecutionContext} from 'ava';
import {relayRedirected} from '../../../../agent/intercept/http/relay.ts';
import {
  HTTP_DEFAULTS,
  type HttpOptions,
  type HttpSubscription,
} from '../../../../agent/intercept/http/types.ts';
import {LettingGo} from '../../../../agent/intercept/letting-go.ts';
import {connectMarked} from '../../../../agent/native.ts';
import {DuplexSocket} from '../../../../sockets/duplex-socket.ts';
import {listen as listenNative} from '../../../../sockets/listening.ts';
import {Passage} from '../../../../sockets/passage.ts';
import type {StreamSocket} from '../../../../sockets/types.ts';
import type {HttpCondition, HttpFilter} from '../../../../tunnel/http-filter.ts';

/** Anything that listens: of net, http, or http2. */
type Listener = Pick<Server, 'listen' | 'address' | 'close'> & EventEmitter;

/** Listens at a free port of the loopback; returns it. Ends with the test, and its connections as well. */
export async function listen(t: ExecutionContext, server: Listener): Promise<number> {
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  t.teardown(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return (server.address() as AddressInfo).port;
}

/** Connects to a port of the loopback; half-open, as the interceptor does. */
export async function dial(port: number): Promise<Socket> {
  const socket = connect({host: '127.0.0.1', port, allowHalfOpen: true, noDelay: true});
  await once(socket, 'connect');
  return socket;
}

/** A filter that wants requests which fit any of the conditions. */
export function wants(...conditions: HttpCondition[]): HttpFilter {
  return {join: 'any', conditions};
}

/** Wants requests with this line in their head. */
export function wantsHeader(source: string): HttpFilter {
  return wants({kind: 'header', pattern: {source, flags: 'i'}});
}

const LOOPBACK = new Uint8Array([127, 0, 0, 1]);
/** A port (tcpmux) at which nobody has listened for decades. */
export const NOBODY = 1;

let lastId = 0;

/** A client that wants requests, whose program listens at `port`; what it is told is in `warnings`. */
export function subscription(
  port: number,
  {mode = 'steal', filter}: {mode?: 'steal' | 'mirror'; filter?: HttpFilter | undefined} = {},
): HttpSubscription & {readonly warnings: string[]} {
  const warnings: string[] = [];
  return {
    id: ++lastId,
    mode,
    filter,
    connect: async () => new DuplexSocket(await dial(port)),
    warn: (code) => warnings.push(code),
    warnings,
  };
}

/**
 * Relays to an application at a port; returns the port that clients use. `relays` are those that are not over, `lettingGo`
 * has them let go.
 */
export async function relay(
  t: ExecutionContext,
  applicationPort: number,
  subscriptions: readonly HttpSubscription[],
  options: Partial<HttpOptions> = {},
): Promise<{
  readonly port: number;
  readonly relays: Set<Promise<void>>;
  readonly lettingGo: LettingGo;
}> {
  const all: HttpOptions = {...HTTP_DEFAULTS, ...options};
  const relays = new Set<Promise<void>>();
  const lettingGo = new LettingGo();
  const sockets = new Set<StreamSocket>();
  const listening = listenNative(60_000, {
    onAccepted({socket}) {
      sockets.add(socket);
      socket.onClosed = () => sockets.delete(socket);
      const done = relayRedirected(
        {
          socket,
          lettingGo,
          passage: Passage.none,
          dialApplication: () => connectMarked({address: LOOPBACK, port: applicationPort}, 0),
          // New objects each time, as the interceptor makes them.
          subscriptions: () => subscriptions.map((one) => ({...one})),
        },
        all,
      ).then(() => {
        relays.delete(done);
      });
      relays.add(done);
    },
    onFailed: (error) => t.fail(String(error)),
  });
  t.teardown(() => {
    listening.close();
    for (const socket of sockets) socket.destroy();
  });
  return {port: listening.port, relays, lettingGo};
}

/** Everything that a connection says until it ends; rejects when it is reset. */
export async function readAll(socket: Socket): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('latin1');
}

/** Reads until what was said fits; returns all of it. */
export function readUntil(socket: Socket, pattern: RegExp): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const onData = (chunk: Buffer): void => {
      text += chunk.toString('latin1');
      if (!pattern.test(text)) return;
      socket.off('data', onData);
      socket.pause();
      resolve(text);
    };
    socket.on('data', onData);
    socket.once('error', reject);
    socket.once('end', () => reject(new Error(`ended after ${JSON.stringify(text)}`)));
    socket.resume();
  });
}

/** Says `bytes`, ends, and returns the answer until the other side ends. */
export async function ask(port: number, bytes: string | Buffer): Promise<string> {
  const socket = await dial(port);
  socket.end(bytes);
  return readAll(socket);
}

/**
 * An application that answers nothing of its own, but keeps what it hears, of all connections: `heard` by
 * connection.
 */
export function recorder(answer = ''): {server: Server; heard: string[]} {
  const heard: string[] = [];
  const server = createServer({allowHalfOpen: true}, (socket) => {
    const index = heard.push('') - 1;
    socket.on('data', (chunk) => {
      heard[index] += chunk.toString('latin1');
    });
    socket.on('error', () => {});
    socket.on('end', () => socket.end(answer));
  });
  return {server, heard};
}
