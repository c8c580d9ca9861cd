/**
 * The WebSocket server of the agent, for connections that someone else accepts or hands over.
 *
 * It does not listen: `serve` takes one connection. In a cluster a listening socket will pass its
 * connections here, one session each.
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

  constructor(context: AgentContext) {
    this.#context = context;
    // Anything but an upgrade is not ours. The same patience holds for the request and the token.
    this.#http = createServer(
      {headersTimeout: context.handshakeTimeoutMs},
      (_request, response) => {
        response.writeHead(426, {connection: 'close', upgrade: 'websocket'});
        response.end();
      },
    );
    this.#http.on('upgrade', (request, socket, head) => {
      this.#webSockets.handleUpgrade(request, socket, head, (webSocket) => {
        const mux = startSession(this.#context, () => {});
        bindWebSocket(webSocket, mux);
      });
    });
  }

  /** Takes a connection over; it is destroyed when its session ends. */
  serve(connection: Duplex): void {
    this.#http.emit('connection', connection);
  }
}
