/**
 * The WebSocket server of the agent, for connections that someone else accepts or hands over.
 *
 * It does not listen: `serve` takes one connection, and makes it one session, or the next connection of one. A connection has one
 * patience for all it must show before it is trusted: the request, and then the token. Before its
 * upgrade it may ask for `GET /ready`, which is answered by 204: a port-forward opens before anything
 * listens behind it, and only an answer tells that the agent does.
 */

import {createServer, type Server} from 'node:http';
import type {Duplex} from 'node:stream';
import type {Mux} from '../tunnel/mux.ts';
import {acceptUpgrade} from '../tunnel/websocket/handshake.ts';
import {bindWebSocket} from '../tunnel/websocket.ts';
import {type AgentContext, startSession} from './session.ts';

/** Connections that may be without a tunnel at a time: the pod's other containers reach our port too. */
const MAX_STRANGERS = 64;

/** Serves the agent's protocol on connections. */
export class AgentServer {
  readonly #context: AgentContext;
  readonly #http: Server;
  /** Connections that have not shown a token yet. */
  readonly #strangers = new Map<Duplex, {readonly timer: NodeJS.Timeout; readonly since: number}>();
  readonly #tunnels = new Set<Mux>();

  constructor(context: AgentContext) {
    this.#context = context;
    this.#http = createServer((request, response) => {
      if (request.method === 'GET' && request.url === '/ready') {
        response.writeHead(204).end();
        return;
      }
      // Anything but an upgrade is not ours.
      response.writeHead(426, {connection: 'close', upgrade: 'websocket'});
      response.end();
    });
    this.#http.on('upgrade', (request, socket, head) => {
      const handshakeTimeoutMs = this.#patienceWith(socket);
      if (!acceptUpgrade(request, socket)) return;
      const mux = startSession({...this.#context, handshakeTimeoutMs}, () => {
        this.#tunnels.delete(mux);
      });
      this.#tunnels.add(mux);
      // One that has handed its connection over to another session is over without a word.
      socket.on('close', () => {
        if (mux.isClosed) this.#tunnels.delete(mux);
      });
      // The first message decides: a client, another connection of one, or nobody.
      bindWebSocket(socket, head, mux, () => {
        if (mux.isReady || mux.isClosed) this.#strangers.delete(socket);
      });
    });
  }

  /** Tells every client that the agent goes away. */
  close(): void {
    for (const tunnel of this.#tunnels) tunnel.close('GOING_AWAY');
  }

  /** Takes a connection over; it is destroyed when its session ends. */
  serve(connection: Duplex): void {
    if (this.#strangers.size >= MAX_STRANGERS) {
      this.#context.log.warn('too many connections without a token', {limit: MAX_STRANGERS});
      connection.destroy();
      return;
    }
    // Node's own timeouts for requests only work in a server that listens.
    const timer = setTimeout(() => connection.destroy(), this.#context.handshakeTimeoutMs);
    this.#strangers.set(connection, {timer, since: performance.now()});
    connection.on('close', () => {
      clearTimeout(timer);
      this.#strangers.delete(connection);
    });
    this.#http.emit('connection', connection);
  }

  /** Returns what is left of the patience with it, in ms, which is the tunnel's from now on. */
  #patienceWith(connection: Duplex): number {
    const stranger = this.#strangers.get(connection);
    clearTimeout(stranger?.timer);
    const elapsedMs = performance.now() - (stranger?.since ?? performance.now());
    return Math.max(0, this.#context.handshakeTimeoutMs - elapsedMs);
  }
}
