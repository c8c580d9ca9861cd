/** An agent's session in this process, and real sockets for it to talk to. */

import {once} from 'node:events';
import {type AddressInfo, connect, createServer, type Server, type Socket} from 'node:net';
import type {ExecutionContext} from 'ava';
import {makeLog} from '../../agent/log.ts';
import {AgentServer} from '../../agent/server.ts';
import type {AgentContext} from '../../agent/session.ts';
import {emitEndpoint, type TunnelEndpoint} from '../../tunnel/messages.ts';
import type {Mux} from '../../tunnel/mux.ts';
import type {MuxOptions} from '../../tunnel/mux-types.ts';
import type {MuxStream} from '../../tunnel/types.ts';
import {connectTunnel} from '../../tunnel/websocket.ts';
import {Ear, seeded, TOKEN} from './tunnel.ts';

/** Two ends of a connection of the kernel. */
export async function socketPair(): Promise<[Socket, Socket]> {
  const server = createServer({allowHalfOpen: true}).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const one = connect(portOf(server), '127.0.0.1');
  const [other] = await once(server, 'connection');
  server.close();
  return [one, other];
}

/** A layer's multiplexer whose agent runs in this process; both end with the test. */
export async function startAgent(
  t: ExecutionContext,
  options: {readonly context?: Partial<AgentContext>; readonly layer?: Partial<MuxOptions>} = {},
): Promise<{layer: Mux; context: AgentContext}> {
  const context: AgentContext = {
    targetPid: process.pid,
    isHome: false,
    token: TOKEN,
    handshakeTimeoutMs: 10_000,
    echoSockets: {},
    ownPorts: new Set(),
    log: makeLog('error', (line) => t.log(line)),
    random: seeded(2),
    ...options.context,
  };
  const [one, other] = await socketPair();
  new AgentServer(context).serve(other);
  const ready = Promise.withResolvers<void>();
  const layer = connectTunnel(
    one,
    {token: TOKEN, random: seeded(1), ...options.layer},
    {
      onReady: () => ready.resolve(),
      onClose: (error) => ready.reject(error ?? new Error('closed')),
    },
  );
  t.teardown(() => layer.close());
  await ready.promise;
  return {layer, context};
}

/** A TCP server on loopback that ends with the test. */
export async function listen(
  t: ExecutionContext,
  onConnection: (socket: Socket) => unknown,
  host = '127.0.0.1',
): Promise<TunnelEndpoint> {
  const sockets = new Set<Socket>();
  const server = createServer({allowHalfOpen: true}, (socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    onConnection(socket);
  }).listen(0, host);
  await once(server, 'listening');
  t.teardown(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return {address: host === '::1' ? LOOPBACK6 : LOOPBACK4, port: portOf(server)};
}

export const LOOPBACK4 = new Uint8Array([127, 0, 0, 1]);
export const LOOPBACK6 = new Uint8Array(16).with(15, 1);

/** An ear that can be waited for. */
export class WaitingEar extends Ear {
  readonly #waits: {isTrue(): boolean; resolve(): void}[] = [];

  override onOpened(body: Uint8Array): void {
    super.onOpened(body);
    this.#look();
  }

  override onRefused(errno: string): void {
    super.onRefused(errno);
    this.#look();
  }

  override onData(chunk: Uint8Array): void {
    super.onData(chunk);
    this.#look();
  }

  override onEnd(): void {
    super.onEnd();
    this.#look();
  }

  override onReset(errno: string): void {
    super.onReset(errno);
    this.#look();
  }

  override onClose(): void {
    super.onClose();
    this.#look();
  }

  override onDatagram(payload: Uint8Array): void {
    super.onDatagram(payload);
    this.#look();
  }

  /** Resolves as soon as the condition is true after something was heard. */
  until(isTrue: () => boolean): Promise<void> {
    const {promise, resolve} = Promise.withResolvers<void>();
    this.#waits.push({isTrue, resolve});
    this.#look();
    return promise;
  }

  /** Resolves with the first event that starts like this. */
  async event(start: string): Promise<string> {
    const find = (): string | undefined => this.events.find((event) => event.startsWith(start));
    await this.until(() => find() !== undefined);
    return find() ?? '';
  }

  #look(): void {
    for (const wait of this.#waits) if (wait.isTrue()) wait.resolve();
  }
}

/** Opens a tcp stream to an endpoint. */
export function dial(
  layer: Mux,
  endpoint: TunnelEndpoint,
  options: {consume?: boolean} = {},
): {stream: MuxStream; ear: WaitingEar} {
  const ear = new WaitingEar(options);
  ear.stream = layer.open('tcp', emitEndpoint(endpoint), ear);
  return {stream: ear.stream, ear};
}

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}
