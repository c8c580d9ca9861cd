/**
 * Unix sockets of the pod in the sandbox: what listens in the pod under a wanted name listens here too.
 *
 * Theory of operation. The agent reports which sockets the target can connect to, and each change. For each
 * that is wanted the launcher makes a listening socket of the same type under the same name, in the
 * sandbox's mount (or, abstract names, network) namespace only. A connection there is a stream of the
 * tunnel: the agent connects, and what comes is passed on, with credit, to the end of each direction.
 *
 * The kernel has let the program connect before the agent is asked: should that fail, the connection ends at
 * once. When a server in the pod goes, the socket here is closed, and refuses; its name stays until the
 * session ends, or its server is back.
 */

import {createServer, type Socket} from 'node:net';
import {CAPABILITY} from '../../tunnel/handshake.ts';
import {emitUnix, type UnixSocket, type UnixType} from '../../tunnel/messages.ts';
import type {Mux} from '../../tunnel/mux.ts';
import {subscribeUnix, type UnixSockets} from '../../tunnel/target.ts';
import {MirrordError} from '../errors.ts';
import type {Log} from '../log.ts';
import {closeFd} from '../native/native.ts';
import {relay} from '../relay.ts';
import type {Launcher} from '../sandbox/launcher.ts';
import {
  coverSocket,
  type PlaceHolder,
  placeSocket,
  removePlaceHolder,
  writtenName,
} from './place.ts';
import {acceptRecords} from './records.ts';
import {compileSelection, type Selection} from './selection.ts';

/** Sockets in a session's life; more are left out, and said once. The launcher has room for twice as many. */
const socketLimit = 64;
/** Connections at a time; more are closed at once. Those with records have a process each. */
const connectionLimits: Readonly<Record<UnixType, number>> = {stream: 1_024, seqpacket: 128};

export interface UnixStreamsOptions {
  readonly mux: Mux;
  /** Regular expressions on names of sockets. */
  readonly patterns: readonly string[];
  /** Whether a path is of a file system of ours, where the launcher must not wait for us. */
  readonly isServed?: (path: string) => boolean;
  readonly warn: (message: string) => void;
  readonly log: Log;
}

export interface UnixStreams extends Disposable {
  /** Resolves when the sockets that the pod has at the start are there. */
  readonly ready: Promise<void>;
  readonly counters: {
    readonly accepted: number;
    /** Over the limit. */
    readonly refused: number;
    /** The agent could not connect. */
    readonly failed: number;
  };
}

class Server implements UnixStreams {
  readonly ready: Promise<void>;
  readonly counters = {accepted: 0, refused: 0, failed: 0};
  readonly #launcher: Launcher;
  readonly #options: UnixStreamsOptions;
  readonly #selection: Selection;
  readonly #listening = new Map<string, Disposable & {type: UnixType}>();
  /** All names there ever were, with those that stay out. */
  readonly #names = new Set<string>();
  readonly #placeHolders = new Map<string, PlaceHolder>();
  readonly #connections = {stream: new Set<Socket>(), seqpacket: new Set<Socket>()};
  readonly #said = new Set<string>();
  /** Sockets that are being put into a file system of ours, one after the other. */
  #covering: Promise<void> = Promise.resolve();
  #isOver = false;

  constructor(launcher: Launcher, options: UnixStreamsOptions) {
    this.#launcher = launcher;
    this.#options = options;
    this.#selection = compileSelection(options.patterns);
    this.ready = this.#subscribe().then(() => this.#covering);
  }

  [Symbol.dispose](): void {
    this.#options.log('unix streams: counters', this.counters);
    this.#isOver = true;
    for (const listener of this.#listening.values()) listener[Symbol.dispose]();
    for (const sockets of Object.values(this.#connections)) {
      for (const socket of sockets) socket.destroy();
    }
    // The launcher has done it, unless it was killed.
    for (const placeHolder of this.#placeHolders.values()) removePlaceHolder(placeHolder);
  }

  #subscribe(): Promise<void> {
    const {mux, log} = this.#options;
    if (((mux.peer?.capabilities ?? 0) & CAPABILITY.unix) === 0) {
      this.#sayOnce("the agent can't connect to unix sockets; they stay local");
      return Promise.resolve();
    }
    const {promise, resolve} = Promise.withResolvers<void>();
    subscribeUnix(
      mux,
      {paths: this.#selection.paths},
      {
        onSockets: (sockets) => {
          this.#follow(sockets);
          resolve();
        },
        onEnd(errno) {
          log('unix streams: no more reports', {errno});
          resolve();
        },
      },
    );
    return promise;
  }

  /** Makes what listens here equal to what is wanted of the pod's. */
  #follow({sockets, omitted}: UnixSockets): void {
    const wanted = new Map<string, UnixSocket>();
    for (const socket of sockets) {
      if (this.#selection.isWanted(socket.name)) wanted.set(socket.name, socket);
    }
    if (omitted > 0) this.#sayOnce(`the pod has ${omitted} unix sockets too many to be looked at`);
    for (const [name, listener] of this.#listening) {
      if (wanted.get(name)?.type === listener.type) continue;
      listener[Symbol.dispose]();
      this.#listening.delete(name);
    }
    for (const socket of wanted.values()) {
      if (!this.#listening.has(socket.name)) this.#show(socket);
    }
  }

  #show(socket: UnixSocket): void {
    const {name, type} = socket;
    if (!this.#names.has(name) && this.#names.size >= socketLimit) {
      this.#sayOnce(`only ${socketLimit} of the pod's unix sockets are shown to the program`);
      return;
    }
    this.#names.add(name);
    if (this.#options.isServed?.(name) === true) {
      // What it stands for while it is made: listening to nothing.
      const place = {type, [Symbol.dispose]: () => undefined};
      this.#listening.set(name, place);
      this.#covering = this.#covering.then(() => this.#cover(socket, place));
      return;
    }
    try {
      const {fd, placeHolder} = placeSocket(this.#launcher, socket);
      if (placeHolder !== undefined) this.#placeHolders.set(name, placeHolder);
      this.#listenAs(socket, fd);
    } catch (error) {
      this.#sayWhy(error);
    }
  }

  /** Shows a socket in a file system of ours, unless it is gone from `place` when its turn comes. */
  async #cover(socket: UnixSocket, place: Disposable & {type: UnixType}): Promise<void> {
    const isWanted = (): boolean => !this.#isOver && this.#listening.get(socket.name) === place;
    if (!isWanted()) return;
    try {
      const fd = await coverSocket(this.#launcher, socket);
      if (isWanted()) this.#listenAs(socket, fd);
      else closeFd(fd);
    } catch (error) {
      if (isWanted()) this.#listening.delete(socket.name);
      if (!this.#isOver) this.#sayWhy(error);
    }
  }

  #listenAs(socket: UnixSocket, fd: number): void {
    const {name, type} = socket;
    this.#listening.set(name, Object.assign(this.#listen(fd, socket), {type}));
    this.#options.log('unix streams: socket', {name: writtenName(name), type});
  }

  #sayWhy(error: unknown): void {
    if (!(error instanceof MirrordError)) throw error;
    this.#sayOnce(`${error.message}: ${error.hint}`);
  }

  #listen(fd: number, target: UnixSocket): Disposable {
    const onConnection = (socket: Socket): void => this.#onConnection(socket, target);
    if (target.type === 'seqpacket') {
      return acceptRecords(fd, {
        mayAccept: () => this.#mayAccept('seqpacket'),
        onConnection,
        onTooLong: () => this.#sayTooLong(target),
      });
    }
    const server = createServer({allowHalfOpen: true}, (socket) => {
      if (this.#mayAccept('stream')) onConnection(socket);
      else socket.destroy();
    });
    server.on('error', () => undefined); // EMFILE on accept: the program waits
    server.listen({fd});
    return {[Symbol.dispose]: () => void server.close()};
  }

  #mayAccept(type: UnixType): boolean {
    const limit = connectionLimits[type];
    if (this.#connections[type].size < limit) return true;
    this.counters.refused++;
    this.#sayOnce(`more than ${limit} connections to the pod's ${type} sockets: closed`);
    return false;
  }

  #onConnection(socket: Socket, target: UnixSocket): void {
    const sockets = this.#connections[target.type];
    this.counters.accepted++;
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    relay(socket, (handler) =>
      this.#options.mux.open('unix', emitUnix(target), {
        ...handler,
        onRefused: (errno) => {
          this.counters.failed++;
          this.#options.log('unix streams: connect failed', {name: target.name, errno});
          handler.onRefused?.(errno);
        },
      }),
    );
  }

  #sayTooLong({name}: UnixSocket): void {
    this.#sayOnce(
      `a record on ${writtenName(name)} is longer than 1 MiB or net.core.wmem_max: the connection was closed`,
    );
  }

  #sayOnce(message: string): void {
    if (this.#said.has(message)) return;
    this.#said.add(message);
    this.#options.warn(message);
  }
}

/** Shows the wanted unix sockets of the pod in a sandbox. Throws MIRRORD_UNIX_PATTERN_INVALID. */
export function serveUnixStreams(launcher: Launcher, options: UnixStreamsOptions): UnixStreams {
  return new Server(launcher, options);
}
