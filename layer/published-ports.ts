/**
 * Published ports: what the program listens on appears on this machine's loopback.
 *
 * Theory of operation. Each port of the sandbox with a listener gets listeners here, on 127.0.0.1 and, where
 * it works, on ::1: of the same number, or if that is taken (or below 1024 and not ours to bind) of one
 * that the kernel picks, which is said once. A port for which a number here was wished for gets exactly that one,
 * which is kept free of others; when it can't be had the program can't go on, since whoever wrote the number down
 * would meet somebody else there. A connection accepted here is continued by a socket made
 * inside the sandbox's network namespace, to the address that the listener there is bound to; hence also
 * programs that bind only their loopback can be reached, and see a client on it. Nothing of the machine
 * is disturbed: no port is shared, and a listener here goes when the one inside does. Connections that are
 * open then go on.
 */

import {once} from 'node:events';
import {createServer, isIPv6, type Server, Socket} from 'node:net';
import {resetSocket} from '../sockets/reset.ts';
import type {StreamHandler} from '../tunnel/types.ts';
import {MirrordError} from './errors.ts';
import type {Listener} from './listeners/listener.ts';
import {watchListeners} from './listeners/watch.ts';
import type {Log} from './log.ts';
import {SystemError} from './native/native.ts';
import {relay} from './relay.ts';
import type {Launcher} from './sandbox/launcher.ts';
import {streamOfSocket} from './socket-stream.ts';
import type {ByteStream} from './streams.ts';

/** Connections at a time, of all ports; more are reset. Each takes two descriptors. */
const connectionLimit = 1_024;
/** Ports at a time; more are left out, and said once. */
const portLimit = 256;

/** A port of the program, and the number that it has on this machine. */
export interface PublishedPort {
  readonly port: number;
  readonly hostPort: number;
}

export interface PublishedPorts extends Disposable {
  /** Resolves when a number that was wished for can't be had; else never. */
  readonly failed: Promise<MirrordError>;
  /** What is published now, ascending. */
  readonly ports: readonly PublishedPort[];
  readonly counters: {
    readonly accepted: number;
    /** Over the limit. */
    readonly refused: number;
    /** The listener inside was gone, or took no more. */
    readonly failed: number;
  };
}

export interface PublishOptions {
  /** From a port of the program's to the one that it has to have here. */
  hostPorts?: ReadonlyMap<number, number>;
  /** Whether a listening socket is mirrord's own. */
  isOurs: (listener: Listener) => boolean;
  warn: (message: string) => void;
  info: (message: string) => void;
  log: Log;
}

/** Where a listener is reached from inside: one bound to all addresses, on loopback. */
function reachableAt(address: string): string {
  if (address === '0.0.0.0') return '127.0.0.1';
  return address === '::' ? '::1' : address;
}

/** The addresses to try for a port, loopback first, and of it the family by which the client came. */
export function dialOrder(bound: readonly string[], isSix: boolean): string[] {
  const rank = (address: string): number => {
    if (address !== '127.0.0.1' && address !== '::1') return 2;
    return isIPv6(address) === isSix ? 0 : 1;
  };
  return [...new Set(bound.map(reachableAt))].sort((one, other) => rank(one) - rank(other));
}

/** Listens on an address of this machine; an errno when that can't be. */
async function listenAt(
  host: string,
  port: number,
  onConnection: (socket: Socket) => void,
): Promise<Server | string> {
  const server = createServer({allowHalfOpen: true, pauseOnConnect: false}, onConnection);
  server.listen({host, port});
  try {
    await once(server, 'listening');
    server.on('error', () => undefined); // EMFILE on accept: the client waits, or gives up
    return server;
  } catch (error) {
    // EADDRINUSE, EACCES, EADDRNOTAVAIL: another number, or one family only
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
}

function portOf(server: Server): number {
  const address = server.address();
  return typeof address === 'object' ? (address?.port ?? 0) : 0;
}

/** Why a number that was wished for can't be had. */
function unavailable(port: number, hostPort: number, errno: string): MirrordError {
  const reason =
    errno === 'EADDRINUSE' ? 'another process listens there' : 'an ordinary user may not have it';
  return new MirrordError(
    'MIRRORD_LISTEN_PORT_TAKEN',
    `the program's port ${port} can't be at 127.0.0.1:${hostPort}: ${reason} (${errno})`,
    {
      hint: `choose another number for [${port}, ${hostPort}] in feature.network.incoming.listen_ports; who has it: ss -ltnp 'sport = :${hostPort}'`,
    },
  );
}

/** One port of the sandbox and its listeners here. */
interface Publication {
  /** The addresses it is bound to inside; changes while it is published. */
  bound: readonly string[];
  readonly hostPort: number;
  readonly servers: readonly Server[];
}

class Publisher implements PublishedPorts {
  readonly counters = {accepted: 0, refused: 0, failed: 0};
  readonly failed: Promise<MirrordError>;
  readonly #fail: (error: MirrordError) => void;
  readonly #launcher: Launcher;
  readonly #options: PublishOptions;
  readonly #published = new Map<number, Publication>();
  readonly #connections = new Set<Socket>();
  readonly #said = new Set<string>();
  readonly #watch: Disposable;
  #isOpen = true;

  constructor(launcher: Launcher, options: PublishOptions) {
    this.#launcher = launcher;
    this.#options = options;
    ({promise: this.failed, resolve: this.#fail} = Promise.withResolvers<MirrordError>());
    this.#watch = watchListeners(launcher, (listeners) => this.#follow(listeners), options.log);
  }

  get ports(): PublishedPort[] {
    return [...this.#published]
      .map(([port, {hostPort}]) => ({port, hostPort}))
      .sort((one, other) => one.port - other.port);
  }

  [Symbol.dispose](): void {
    this.#isOpen = false;
    this.#watch[Symbol.dispose]();
    for (const port of [...this.#published.keys()]) this.#withdraw(port);
    for (const socket of this.#connections) socket.destroy();
  }

  /** Makes what is published equal to what is listening. */
  async #follow(listeners: readonly Listener[]): Promise<void> {
    const wanted = new Map<number, string[]>();
    for (const listener of listeners) {
      if (this.#options.isOurs(listener)) continue;
      const {port, address} = listener;
      wanted.set(port, [...(wanted.get(port) ?? []), address]);
    }
    for (const port of [...this.#published.keys()]) if (!wanted.has(port)) this.#withdraw(port);
    for (const [port, bound] of wanted) {
      const publication = this.#published.get(port);
      if (publication !== undefined) publication.bound = bound;
      else if (this.#published.size < portLimit) await this.#publish(port, bound);
      else this.#sayOnce(`only ${portLimit} ports of the program are published`);
    }
  }

  async #publish(port: number, bound: readonly string[]): Promise<void> {
    const onConnection = (socket: Socket): void => this.#onConnection(port, socket);
    const first = await this.#listen(port, onConnection);
    if (first === undefined) return;
    const hostPort = portOf(first);
    const second = await listenAt('::1', hostPort, onConnection);
    const servers = typeof second === 'string' ? [first] : [first, second];
    this.#published.set(port, {bound, hostPort, servers});
    if (!this.#isOpen) return this.#withdraw(port); // ended meanwhile
    if (hostPort !== port) this.#sayOther(port, hostPort);
    this.#options.log('published: port', {port, hostPort, bound, isOnSix: servers.length > 1});
  }

  /** Listens for a port of the program's at the number it is to have, or at any if it need not have one. */
  async #listen(port: number, onConnection: (socket: Socket) => void): Promise<Server | undefined> {
    const {hostPorts = new Map<number, number>()} = this.#options;
    const wished = hostPorts.get(port);
    if (wished !== undefined) {
      const server = await listenAt('127.0.0.1', wished, onConnection);
      if (typeof server !== 'string') return server;
      this.#fail(unavailable(port, wished, server));
      return undefined;
    }
    const isKept = [...hostPorts.values()].includes(port);
    const same = isKept ? 'EADDRINUSE' : await listenAt('127.0.0.1', port, onConnection);
    const server = typeof same === 'string' ? await listenAt('127.0.0.1', 0, onConnection) : same;
    if (typeof server !== 'string') return server;
    this.#sayOnce(`port ${port} of the program can't be published (${server})`);
    return undefined;
  }

  #withdraw(port: number): void {
    for (const server of this.#published.get(port)?.servers ?? []) server.close();
    this.#published.delete(port);
    this.#options.log('published: gone', {port});
  }

  #onConnection(port: number, socket: Socket): void {
    if (this.#connections.size >= connectionLimit) {
      this.counters.refused++;
      this.#sayOnce(`more than ${connectionLimit} connections to published ports: reset`);
      resetSocket(socket);
      return;
    }
    const bound = this.#published.get(port)?.bound ?? [];
    const inside = this.#dial(dialOrder(bound, isIPv6(socket.localAddress ?? '')), port);
    if (inside === undefined) {
      this.counters.failed++;
      resetSocket(socket);
      return;
    }
    this.counters.accepted++;
    this.#connections.add(socket);
    socket.once('close', () => this.#connections.delete(socket));
    relay(socket, (handler) => adopt(inside, handler));
  }

  /** Connects inside the sandbox; undefined when nobody listens any more. */
  #dial(addresses: readonly string[], port: number): number | undefined {
    for (const address of addresses) {
      try {
        return this.#launcher.open('connect', 'tcp', address, port).fd;
      } catch (error) {
        if (!(error instanceof SystemError)) throw error;
        this.#options.log('published: connect failed', {address, port, error: error.code});
      }
    }
    return undefined;
  }

  #sayOther(port: number, hostPort: number): void {
    this.#sayOnce(`port ${port} of the program is at 127.0.0.1:${hostPort}`, this.#options.info);
  }

  #sayOnce(message: string, say = this.#options.warn): void {
    if (this.#said.has(message)) return;
    this.#said.add(message);
    say(message);
  }
}

/** Makes a stream of a connection that the launcher has made. One still on its way fails by a reset. */
function adopt(fd: number, handler: StreamHandler): ByteStream {
  const socket = new Socket({fd, allowHalfOpen: true});
  queueMicrotask(() => handler.onOpened?.(new Uint8Array()));
  return streamOfSocket(socket, handler);
}

/** Publishes the ports of a sandbox for as long as they are listened on. */
export function publishPorts(launcher: Launcher, options: PublishOptions): PublishedPorts {
  return new Publisher(launcher, options);
}
