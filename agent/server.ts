/**
 * The WebSocket server of the agent, for connections that someone else accepts or hands over.
 *
 * It does not listen: `serve` takes one connection. In a cluster a listening socket will pass its
 * connections here, one session each. A connection has one patience for all it must show before it
 * is trusted: the request, and then the token.
 */

import {createServer, type Server} from 'node:http';
import type {Duplex} from 'node:stream';
import {WebSocketServer} from 'ws';
import {bindWebSocket, WEBSOCKET_OPTIONS} from '../tunnel/websocket.ts';
import {type AgentContext, startSession} from './session.ts';

/** Serves the agent's protocol on connections. */
export class AgentServer {
  readonly #context: AgentContext;
  readonly #http: Server;
  readonly #webSockets = new WebSocketServer({...WEBSOCKET_OPTIONS, noServer: true});
  /** Connections without a WebSocket yet. */
  readonly #strangers = new Map<Duplex, {readonly timer: NodeJS.Timeout; readonly since: number}>();

  constructor(context: AgentContext) {
    this.#context = context;
    // Anything but an upgrade is not ours.
    this.#http = createServer((_request, response) => {
      response.writeHead(426, {connection: 'close', upgrade: 'websocket'});
      response.end();
    });
    this.#http.on('upgrade', (request, socket, head) => {
      const handshakeTimeoutMs = this.#forgetStranger(socket);
      this.#webSockets.handleUpgrade(request, socket, head, (webSocket) => {
        const mux = startSession({...this.#context, handshakeTimeoutMs});
        bindWebSocket(webSocket, mux);
      });
    });
  }

  /** Takes a connection over; it is destroyed when its session ends. */
  serve(connection: Duplex): void {
    // Node's own timeouts for requests only work in a server that listens.
    const timer = setTimeout(() => connection.destroy(), this.#context.handshakeTimeoutMs);
    this.#strangers.set(connection, {timer, since: performance.now()});
    connection.on('close', () => this.#forgetStranger(connection));
    this.#http.emit('connection', connection);
  }

  /** Returns what is left of its patience, in ms. */
  #forgetStranger(connection: Duplex): number {
    const stranger = this.#strangers.get(connection);
    this.#strangers.delete(connection);
    clearTimeout(stranger?.timer);
    const elapsedMs = performance.now() - (stranger?.since ?? performance.now());
    return Math.max(0, this.#context.handshakeTimeoutMs - elapsedMs);
  }
}
