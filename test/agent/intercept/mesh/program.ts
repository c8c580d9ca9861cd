/** Stands in for a client of the agent's: its tunnel leads to a program here, which answers and remembers requests. */

import {once} from 'node:events';
import {createServer, type IncomingMessage, type Server} from 'node:http';
import {connect} from 'node:net';
import type {InterceptClient} from '../../../../agent/intercept/subscriptions.ts';

/** What an application or a program says about a request. */
export interface Answer {
  readonly by: string;
  readonly path: string;
  /** How often it came through the mesh's proxy. */
  readonly proxied: number;
  readonly peer?: string;
}

export function describe(by: string, request: IncomingMessage): Answer {
  const proxied = request.rawHeaders.filter((name) => name === 'X-Proxied').length;
  return {by, path: request.url ?? '', proxied};
}

const NOTHING = new Uint8Array(0);

export class Program implements InterceptClient {
  readonly isAway = false;
  readonly requests: Answer[] = [];
  /** Whether it takes connections. */
  isListening = true;
  readonly #path: string;
  readonly #server: Server;

  constructor(name: string) {
    this.#path = `\0${name}`; // of this network namespace
    this.#server = createServer((request, response) => {
      const answer = describe(name, request);
      this.requests.push(answer);
      response.end(JSON.stringify(answer));
    }).listen(this.#path);
  }

  async ready(): Promise<this> {
    if (!this.#server.listening) await once(this.#server, 'listening');
    return this;
  }

  open: InterceptClient['open'] = (_body, handler) => {
    if (!this.isListening) queueMicrotask(() => handler.onRefused?.('ECONNREFUSED'));
    const socket = connect({path: this.#path, allowHalfOpen: true});
    if (this.isListening) socket.once('connect', () => handler.onOpened?.(NOTHING));
    socket.on('data', (chunk: Buffer) => handler.onLentData?.(chunk));
    socket.on('end', () => handler.onEnd?.());
    socket.on('close', () => handler.onClose?.());
    socket.on('error', () => undefined);
    return {
      id: 1,
      kind: 'tcp',
      handler,
      writable: 1 << 20,
      accept: () => undefined,
      refuse: () => undefined,
      write: (chunk) => void socket.write(new Uint8Array(chunk)),
      end: () => void socket.end(),
      reset: () => void socket.destroy(),
      stop: () => undefined,
      hurry: () => undefined,
      consumed: () => undefined,
      sendDatagram: () => true,
    };
  };
}
