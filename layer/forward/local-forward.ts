/**
 * A port of this machine's loopback that leads to where the pod can go (`mirrord port-forward -L`).
 *
 * The name is resolved anew for each connection, so that it follows what the cluster does; its addresses are tried in
 * order. The connection is made at once, not with its first byte, so servers that speak first are none the worse.
 */

import {once} from 'node:events';
import {createServer, type Server, type Socket} from 'node:net';
import type {IpAddress} from '../../netstack/types.ts';
import {resetSocket} from '../../sockets/reset.ts';
import {emitEndpoint} from '../../tunnel/messages.ts';
import type {Mux} from '../../tunnel/mux.ts';
import type {MuxStream} from '../../tunnel/types.ts';
import type {AgentLink} from '../agent-link.ts';
import {MirrordError} from '../errors.ts';
import {relay} from '../relay.ts';
import {resolveAtPod} from './pod-names.ts';

/** Connections at a time; more are reset. */
const connectionLimit = 1_024;

/** From a port of 127.0.0.1 to a host and port, as the pod sees them. */
export interface LocalForward {
  readonly localPort: number;
  readonly host: string;
  readonly port: number;
}

export interface LocalForwarding extends Disposable {
  /** From now on connections are answered: until then they wait. */
  serve(link: AgentLink): void;
}

/** Connects to the first of the addresses that accepts; the result comes by one of the two functions, at once. */
function connectToFirst(
  mux: Mux,
  addresses: readonly IpAddress[],
  port: number,
  done: {onOpened: (stream: MuxStream) => void; onRefused: (errno: string) => void},
): void {
  const attempt = ([address, ...others]: readonly IpAddress[], errno: string): void => {
    if (address === undefined || mux.isClosed) {
      done.onRefused(errno);
      return;
    }
    const stream = mux.open('tcp', emitEndpoint({address, port}), {
      onOpened: () => done.onOpened(stream),
      onRefused: (reason) => attempt(others, reason),
      onReset: (reason) => attempt(others, reason),
    });
  };
  attempt(addresses, 'ECONNRESET');
}

class Forwarding implements LocalForwarding {
  readonly #forward: LocalForward;
  readonly #server: Server;
  readonly #connections = new Set<Socket>();
  readonly #warn: (message: string) => void;
  readonly #link = Promise.withResolvers<AgentLink>();
  readonly #said = new Set<string>();

  constructor(forward: LocalForward, server: Server, warn: (message: string) => void) {
    this.#forward = forward;
    this.#server = server;
    this.#warn = warn;
    server.on('connection', (socket) => void this.#onConnection(socket));
    server.on('error', () => undefined); // EMFILE on accept: the client waits, or gives up
  }

  serve(link: AgentLink): void {
    this.#link.resolve(link);
  }

  [Symbol.dispose](): void {
    this.#server.close();
    for (const socket of this.#connections) resetSocket(socket);
  }

  async #onConnection(socket: Socket): Promise<void> {
    socket.on('error', () => undefined); // told as its close
    if (this.#connections.size >= connectionLimit) {
      this.#sayOnce(`more than ${connectionLimit} connections at a time: reset`);
      resetSocket(socket);
      return;
    }
    this.#connections.add(socket);
    socket.once('close', () => this.#connections.delete(socket));
    const link = await this.#link.promise;
    const {host, port} = this.#forward;
    const addresses = await resolveAtPod(link.mux, link.target, host).catch(() => []);
    if (addresses.length === 0) this.#fail(socket, 'the pod knows no such name');
    else {
      connectToFirst(link.mux, addresses, port, {
        onOpened: (stream) => this.#join(socket, stream),
        onRefused: (errno) => this.#fail(socket, errno),
      });
    }
  }

  #join(socket: Socket, stream: MuxStream): void {
    if (socket.destroyed) {
      stream.reset('ECONNRESET');
      return;
    }
    relay(socket, (handler) => {
      stream.handler = handler;
      queueMicrotask(() => handler.onOpened?.(new Uint8Array(0)));
      return stream;
    });
  }

  #fail(socket: Socket, reason: string): void {
    const {host, port} = this.#forward;
    this.#sayOnce(`${host}:${port} can't be reached from the pod: ${reason}`);
    resetSocket(socket);
  }

  #sayOnce(message: string): void {
    if (!this.#said.has(message)) this.#warn(message);
    this.#said.add(message);
  }
}

/** Listens on 127.0.0.1. Throws MIRRORD_LOCAL_PORT_TAKEN. */
export async function forwardLocally(
  forward: LocalForward,
  warn: (message: string) => void,
): Promise<LocalForwarding> {
  const {localPort, host, port} = forward;
  const server = createServer({allowHalfOpen: true});
  server.listen({host: '127.0.0.1', port: localPort});
  try {
    await once(server, 'listening');
  } catch (cause) {
    const {code} = cause as NodeJS.ErrnoException;
    throw new MirrordError(
      'MIRRORD_LOCAL_PORT_TAKEN',
      `127.0.0.1:${localPort} can't be listened on: ${code}`,
      {
        hint: `choose another: -L ${localPort < 1_024 ? localPort + 8_000 : localPort + 1}:${host}:${port}`,
        cause,
      },
    );
  }
  return new Forwarding(forward, server, warn);
}
