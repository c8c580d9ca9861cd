/**
 * What the HTTP servers of the pods answer: who they are and what they saw, as JSON.
 */

import type {IncomingMessage, Server, ServerResponse} from 'node:http';
import {createServer} from 'node:http';

/** More of a request's body than this isn't repeated in the answer, bytes. */
const bodyLimit = 64 * 1024;

/** What a server saw of a request. */
export interface Description {
  pod: string;
  method: string;
  path: string;
  headers: NodeJS.Dict<string | string[]>;
  /** The client's address, as the server's socket has it. */
  client: string;
  clientPort: number;
  body: string;
}

const pod = process.env['POD_NAME'] ?? 'unknown';

/** Reads the whole body; keeps its first `bodyLimit` bytes. */
async function readBody(request: IncomingMessage): Promise<string> {
  const kept: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    if (length < bodyLimit) kept.push(chunk.subarray(0, bodyLimit - length));
    length += chunk.length;
  }
  return Buffer.concat(kept).toString();
}

/** Describes a request, body included. */
export async function describe(request: IncomingMessage): Promise<Description> {
  return {
    pod,
    method: request.method ?? '',
    path: request.url ?? '',
    headers: request.headers,
    client: (request.socket.remoteAddress ?? '').replace(/^::ffff:/, ''),
    clientPort: request.socket.remotePort ?? 0,
    body: await readBody(request),
  };
}

/** Ends a response with a JSON body. */
export function answerJson(response: ServerResponse, status: number, value: unknown): void {
  const body = `${JSON.stringify(value)}\n`;
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(body),
    'x-pod': pod,
  });
  response.end(body);
}

/**
 * Makes an HTTP server that answers `/healthz` with "ok", and other requests as `handle` says: 200
 * with its value, or 502 with the message of what it throws.
 */
export function jsonServer(handle: (seen: Description) => unknown): Server {
  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    if (request.url === '/healthz') {
      response.end('ok\n');
      return;
    }
    const seen = await describe(request);
    try {
      answerJson(response, 200, await handle(seen));
    } catch (error) {
      answerJson(response, 502, {pod, error: String((error as Error).cause ?? error)});
    }
  };
  return createServer((request, response) => {
    serve(request, response).catch(() => response.destroy());
  });
}
