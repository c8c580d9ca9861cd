/**
 * The opening handshake of a WebSocket (RFC 6455, section 4), in both roles: an HTTP/1.1 request for an upgrade and
 * its answer. Node parses both. No extension is ever agreed on.
 */

import {createHash, randomBytes} from 'node:crypto';
import type {ClientRequest, IncomingMessage} from 'node:http';
import type {Duplex} from 'node:stream';

/** "Concatenated … with the string" (section 1.3). */
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
const VERSION = '13';

/** A connection that has become a WebSocket. */
export interface Upgraded {
  readonly socket: Duplex;
  /** Bytes that came behind the handshake. */
  readonly head: Uint8Array;
  /** The subprotocol that the server has chosen; empty: none. */
  readonly protocol: string;
}

/** The server has answered, but not with an upgrade. */
export class UpgradeRefused extends Error {
  readonly response: IncomingMessage;

  constructor(response: IncomingMessage) {
    super(`the server answered ${response.statusCode ?? 0} instead of an upgrade`);
    this.name = 'UpgradeRefused';
    this.response = response;
  }
}

/** Returns a new key, and the headers to ask with. */
export function upgradeHeaders(protocols: readonly string[]): {
  key: string;
  headers: Record<string, string>;
} {
  const key = randomBytes(16).toString('base64');
  const headers = {
    connection: 'Upgrade',
    upgrade: 'websocket',
    'sec-websocket-key': key,
    'sec-websocket-version': VERSION,
    ...(protocols.length > 0 && {'sec-websocket-protocol': protocols.join(', ')}),
  };
  return {key, headers};
}

/**
 * Waits for the answer to a request with such headers. Throws UpgradeRefused, whose response's body is then the
 * caller's to read, or the error of the connection.
 */
export async function upgraded(request: ClientRequest, key: string): Promise<Upgraded> {
  const {promise, resolve, reject} = Promise.withResolvers<Upgraded>();
  request.once('upgrade', (response, socket, head) => {
    const isRight = response.headers['sec-websocket-accept'] === acceptOf(key);
    if (isRight && response.headers['sec-websocket-extensions'] === undefined) {
      resolve({socket, head, protocol: response.headers['sec-websocket-protocol'] ?? ''});
      return;
    }
    socket.destroy();
    reject(new Error('the server speaks another protocol than WebSocket'));
  });
  request.once('response', (response) => reject(new UpgradeRefused(response)));
  request.once('error', reject);
  request.once('close', () => reject(new Error('the connection was closed')));
  request.end();
  return await promise;
}

/** Answers a request for an upgrade. Returns whether it is one; if not, the connection ends with an error. */
export function acceptUpgrade(request: IncomingMessage, socket: Duplex): boolean {
  const {headers, method} = request;
  const key = headers['sec-websocket-key'] ?? '';
  const isRight =
    method === 'GET' &&
    headers.upgrade?.toLowerCase() === 'websocket' &&
    headers['sec-websocket-version'] === VERSION &&
    Buffer.from(key, 'base64').length === 16;
  if (!isRight) {
    socket.on('error', () => socket.destroy());
    socket.end(
      `HTTP/1.1 400 Bad Request\r\nconnection: close\r\nsec-websocket-version: ${VERSION}\r\n\r\n`,
    );
    return false;
  }
  const lines = [
    'HTTP/1.1 101 Switching Protocols',
    'upgrade: websocket',
    'connection: Upgrade',
    `sec-websocket-accept: ${acceptOf(key)}`,
  ];
  socket.write(`${lines.join('\r\n')}\r\n\r\n`);
  return true;
}

function acceptOf(key: string): string {
  return createHash('sha1').update(`${key}${GUID}`).digest('base64');
}
