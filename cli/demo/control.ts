/**
 * What client and supervisor say to each other over the control socket: one request a connection, a
 * line of JSON; then lines of progress, if any, and one with the result or the error.
 */

import {connect, createServer, type Server, type Socket} from 'node:net';
import {MirrordError} from '../../layer/errors.ts';
import type {Addresses} from './addressing.ts';
import type {PodPort, PodSpec} from './pods.ts';
import type {ServicePort} from './services.ts';

/** A pod that `demo run` asks for. */
export type ExtraPod = Pick<PodSpec, 'name' | 'command'> &
  Partial<Pick<PodSpec, 'app' | 'env' | 'ports' | 'root' | 'files'>>;

export type Request =
  | {operation: 'status'}
  /** Answered when all pods are ready. */
  | {operation: 'wait'}
  | {operation: 'down'}
  | {operation: 'run'; pod: ExtraPod}
  | {operation: 'stop'; name: string};

export interface PodStatus {
  name: string;
  app: string;
  addresses: Addresses;
  /** The main process, as this machine numbers it; 0 between two runs of it. */
  pid: number;
  ready: boolean;
  restarts: number;
  ports: readonly PodPort[];
  env: Readonly<Record<string, string>>;
}

export interface ServiceStatus {
  name: string;
  namespace: string;
  clusterIPs: readonly string[];
  ports: readonly ServicePort[];
  /** Addresses of the pods behind it that are ready. */
  endpoints: readonly string[];
  externalName?: string;
}

/** An address that fails in its own way. */
export interface Fixture {
  name: string;
  addresses: Addresses;
  /** What happens to packets for it. */
  does: string;
}

export interface DemoStatus {
  running: true;
  /** Of the mirrord that has started it. */
  version: string;
  /** The supervisor, which is the node: its namespaces are the node's. */
  pid: number;
  pods: readonly PodStatus[];
  services: readonly ServiceStatus[];
  fixtures: readonly Fixture[];
  dns: {address: string; domain: string; search: readonly string[]; malformed: number};
  logs: string;
}

type Line =
  | {progress: string}
  | {result: unknown}
  | {error: {code: string; message: string; hint?: string}};

/** Requests are longer only by mistake, bytes. */
const requestLimit = 256 * 1024;
/** Simultaneous clients. */
const clientLimit = 64;

export type Handler = (request: Request, progress: (text: string) => void) => Promise<unknown>;

function send(socket: Socket, line: Line): void {
  if (socket.writable) socket.write(`${JSON.stringify(line)}\n`);
}

function describeError(error: unknown): Line {
  const {message} = error as Error;
  if (!(error instanceof MirrordError)) return {error: {code: 'MIRRORD_DEMO_FAILED', message}};
  const {code, hint} = error;
  return {error: {code, message, ...(hint !== undefined && {hint})}};
}

async function serve(socket: Socket, text: string, handle: Handler): Promise<void> {
  try {
    const request = JSON.parse(text) as Request;
    const result = await handle(request, (progress) => send(socket, {progress}));
    send(socket, {result});
  } catch (error) {
    send(socket, describeError(error));
  }
  socket.end();
}

/** Makes the server of the control socket. */
export function controlServer(handle: Handler): Server {
  const server = createServer((socket) => {
    let text = '';
    socket.setEncoding('utf8');
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk: string) => {
      text += chunk;
      const end = text.indexOf('\n');
      if (end < 0 && text.length <= requestLimit) return;
      socket.removeAllListeners('data').resume();
      if (end < 0) socket.destroy();
      else void serve(socket, text.slice(0, end), handle);
    });
  });
  server.maxConnections = clientLimit;
  return server;
}

/** Nobody serves the control socket. */
export class NotRunningError extends Error {}

function openSocket(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('connect', () => resolve(socket));
    socket.once('error', (cause) =>
      reject(new NotRunningError('the demo is not running', {cause})),
    );
  });
}

async function* lines(socket: Socket): AsyncGenerator<string> {
  let text = '';
  for await (const chunk of socket.setEncoding('utf8') as AsyncIterable<string>) {
    const [...whole] = (text + chunk).split('\n');
    text = whole.pop() ?? '';
    yield* whole;
  }
}

/**
 * Makes a request. Throws NotRunningError, or the supervisor's MirrordError; `signal` ends the waiting.
 */
export async function request<T>(
  path: string,
  message: Request,
  options: {progress?: ((text: string) => void) | undefined; signal?: AbortSignal | undefined} = {},
): Promise<T> {
  const socket = await openSocket(path);
  const abort = () => socket.destroy();
  socket.on('error', abort);
  options.signal?.addEventListener('abort', abort);
  try {
    options.signal?.throwIfAborted();
    socket.write(`${JSON.stringify(message)}\n`);
    for await (const text of lines(socket)) {
      const line = JSON.parse(text) as Line;
      if ('result' in line) return line.result as T;
      if ('error' in line) {
        const {code, message: reason, hint} = line.error;
        throw new MirrordError(code, reason, {...(hint !== undefined && {hint})});
      }
      options.progress?.(line.progress);
    }
    throw new MirrordError('MIRRORD_DEMO_FAILED', 'the demo ended while it was asked');
  } catch (error) {
    // The abortion shows as a broken connection.
    options.signal?.throwIfAborted();
    throw error;
  } finally {
    options.signal?.removeEventListener('abort', abort);
    socket.destroy();
  }
}
