/**
 * One request to an HTTP server over node:https, to its end: status, headers, body. The answer is bounded,
 * and so is the wait.
 */

import http from 'node:http';
import https from 'node:https';
import {addAbortSignal, pipeline, type Readable} from 'node:stream';
import {createGunzip} from 'node:zlib';
import {LendingRead} from '../../sockets/lending.ts';
import {type Upgraded, upgraded, upgradeHeaders} from '../../tunnel/websocket/handshake.ts';

/** An answer of more than this is refused, bytes: a page of 500 pods is below 10 MB. */
const answerLimit = 64 * 1024 * 1024;

/** What is asked, with the credentials in `tls`. */
export interface HttpRequest {
  url: URL;
  method: string;
  headers: http.OutgoingHttpHeaders;
  body?: string | undefined;
  /** Agent, certificates and the like. */
  tls: https.RequestOptions;
  signal: AbortSignal;
}

/** The head of an answer, and its body as it comes, unpacked. */
export interface HttpAnswer {
  status: number;
  headers: http.IncomingHttpHeaders;
  body: Readable;
}

/** A connection that was kept open and is found closed: nothing has reached the server. */
export class StaleConnection extends Error {}

/** Where a request goes, for Node. */
function placeOf(url: URL): https.RequestOptions {
  return {
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: url.port || (url.protocol === 'https:' ? 443 : 80),
    path: url.pathname + url.search,
  };
}

/** Sends a request; resolves with the head. Rejects with the errors of Node, or the signal's reason. */
export function sendRequest({url, method, headers, body, tls, signal}: HttpRequest) {
  return new Promise<HttpAnswer>((resolve, reject) => {
    const {request: send} = url.protocol === 'https:' ? https : http;
    const request = send({
      ...tls,
      method,
      ...placeOf(url),
      headers: {
        ...tls.headers,
        ...headers,
        ...(body !== undefined && {'content-length': Buffer.byteLength(body)}),
      },
      signal,
    });
    request.on('error', (error: NodeJS.ErrnoException) => {
      if (signal.aborted) reject(signal.reason);
      else if (request.reusedSocket && error.code === 'ECONNRESET') reject(new StaleConnection());
      else reject(error);
    });
    request.once('response', (response) => {
      const packed = response.headers['content-encoding'] === 'gzip';
      const stream = packed ? pipeline(response, createGunzip(), () => undefined) : response;
      resolve({status: response.statusCode ?? 0, headers: response.headers, body: stream});
    });
    request.end(body);
  });
}

/** An upgrade to a WebSocket. */
export interface UpgradeRequest extends Pick<HttpRequest, 'url' | 'tls' | 'signal'> {
  protocols: readonly string[];
}

/** Asks for a WebSocket. Rejects with UpgradeRefused, the errors of Node, or the signal's reason. */
export async function sendUpgrade({
  url,
  tls,
  signal,
  protocols,
}: UpgradeRequest): Promise<Upgraded> {
  const {request: send} = url.protocol === 'https:' ? https : http;
  const {key, headers} = upgradeHeaders(protocols);
  const {signal: patience, stop} = untilDone(signal);
  const {agent, lending} = ownConnection(tls.agent);
  const request = send({
    ...tls,
    ...placeOf(url),
    headers: {...tls.headers, 'user-agent': 'mirrord', ...headers},
    signal: patience,
    agent,
    ...(lending !== undefined && {onread: lending.onread}),
  });
  request.once('socket', (socket) => lending?.made(socket));
  try {
    return await upgraded(request, key);
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    const {code} = error as NodeJS.ErrnoException;
    throw request.reusedSocket && code === 'ECONNRESET' ? new StaleConnection() : error;
  } finally {
    stop();
  }
}

/**
 * An agent whose connection is made for one request, to be read without a buffer for each record. A proxy's agent
 * makes its connections as they are.
 */
function ownConnection(agent: https.RequestOptions['agent']): {
  agent: https.RequestOptions['agent'];
  lending?: LendingRead;
} {
  if (!(agent instanceof https.Agent) || Object.getPrototypeOf(agent) !== https.Agent.prototype)
    return {agent};
  return {
    agent: new https.Agent({...agent.options, keepAlive: false}),
    lending: new LendingRead(),
  };
}

/** A signal that follows another one only for a while: Node would destroy what was upgraded long ago. */
function untilDone(signal: AbortSignal): {signal: AbortSignal; stop(): void} {
  const own = new AbortController();
  const follow = (): void => own.abort(signal.reason);
  signal.addEventListener('abort', follow);
  return {signal: own.signal, stop: () => signal.removeEventListener('abort', follow)};
}

/** Reads a body to its end; rejects, and destroys it, when the signal comes before. */
export async function readBody(body: Readable, signal?: AbortSignal): Promise<string> {
  if (signal !== undefined) addAbortSignal(signal, body);
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > answerLimit) throw new Error(`the answer is larger than ${answerLimit} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
