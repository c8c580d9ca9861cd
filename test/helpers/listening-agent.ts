/** An agent that listens, as in a cluster but without a target: a process, and clients of it. */

import {type ChildProcess, spawn} from 'node:child_process';
import {createHash} from 'node:crypto';
import {once} from 'node:events';
import {connect, type Socket} from 'node:net';
import {Duplex} from 'node:stream';
import type {ExecutionContext} from 'ava';
import type {Mux} from '../../tunnel/mux.ts';
import type {MuxHandler} from '../../tunnel/mux-types.ts';
import {connectTunnel} from '../../tunnel/websocket.ts';
import {compileCache} from './compile-cache.ts';
import {freePort} from './ports.ts';
import {seeded, TOKEN} from './tunnel.ts';
import {until} from './until.ts';

/** What to run. */
export const AGENT_MAIN = new URL('../../agent/main.ts', import.meta.url).pathname;
/** What the agent knows of the token. */
export const TOKEN_HASH = createHash('sha256').update(TOKEN).digest('hex');

/** A running agent. */
export interface ListeningAgent {
  child: ChildProcess;
  port: number;
  exit: Promise<number | null>;
  stderr(): string;
}

/** Starts an agent without a target; it ends with the test at the latest. */
export async function startListeningAgent(
  t: Pick<ExecutionContext, 'teardown'>,
  {args = [], env = {}}: {args?: string[]; env?: Record<string, string>} = {},
): Promise<ListeningAgent> {
  const port = await freePort();
  const flags = ['--listen', `${port}`, '--token-sha256', TOKEN_HASH, '--targetless', ...args];
  const node = ['--disable-warning=ExperimentalWarning', AGENT_MAIN, ...flags];
  const child = spawn(process.execPath, node, {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: {PATH: process.env['PATH'], ...compileCache, MIRRORD_AGENT_LOG: 'info', ...env},
  });
  t.teardown(() => child.kill('SIGKILL'));
  let stderr = '';
  child.stderr?.on('data', (text) => (stderr += text));
  const exit = once(child, 'close').then(([code]) => code as number | null);
  return {child, port, exit, stderr: () => stderr};
}

/** Waits until the agent listens, or has ended. */
export async function ready(agent: ListeningAgent): Promise<ListeningAgent> {
  await until(() => agent.stderr().includes('agent ready') || agent.child.exitCode !== null);
  return agent;
}

interface JoinOptions extends Pick<MuxHandler, 'onOpen'> {
  host?: string;
  token?: Uint8Array<ArrayBuffer>;
  mayPause?: boolean;
}

/** Connects a client. Rejects when the agent won't have it. */
export async function join(
  port: number,
  {host = '127.0.0.1', token = TOKEN, mayPause = false, ...handler}: JoinOptions = {},
): Promise<{mux: Mux; connection: Duplex; socket: Socket}> {
  const socket = connect(port, host);
  // The tunnel reads a socket without its stream.
  const connection = mayPause ? Duplex.from({readable: socket, writable: socket}) : socket;
  socket.on('error', () => {});
  const up = Promise.withResolvers<void>();
  const mux = connectTunnel(
    connection,
    {token, random: seeded(1)},
    {
      ...handler,
      onReady: () => up.resolve(),
      onClose: (error) => up.reject(error ?? new Error('closed')),
    },
  );
  await up.promise;
  return {mux, connection, socket};
}
