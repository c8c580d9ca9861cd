/** Serves clients, at either kind of connection, until there is no more reason to. */

import {createHash, randomBytes, timingSafeEqual} from 'node:crypto';
import {closeSync, fstatSync} from 'node:fs';
import {createServer, type Server, Socket} from 'node:net';
import {setTimeout as delay} from 'node:timers/promises';
import {Tickets} from '../tunnel/tickets.ts';
import {Attendance} from './attendance.ts';
import {Capacity, memoryFor} from './capacity.ts';
import {EchoSocket, type EchoSockets} from './dial/echo.ts';
import {relayRedirected} from './intercept/http/relay.ts';
import {SharedInterceptor} from './intercept/peers/shared-interceptor.ts';
import type {Log} from './log.ts';
import {Metrics} from './metrics.ts';
import {serveMetrics} from './metrics-server.ts';
import type {InheritedOptions, ListeningOptions} from './options.ts';
import {AgentServer} from './server.ts';
import type {AgentContext} from './session.ts';

/** What clients may still be told at the end, ms; less than any grace period of a pod. */
const FAREWELL_MS = 300;

/** Takes a ping socket over. Where the pod's kernel made none (`ping_group_range`), pings get no answer. */
function adoptEcho(family: 4 | 6, fd: number | undefined, log: Log): EchoSockets {
  if (fd === undefined) return {};
  try {
    return {[family]: new EchoSocket(family, fd, log)};
  } catch (error) {
    log.debug('no ping socket', {family, error: String(error)});
    return {};
  }
}

function random(): number {
  return randomBytes(4).readUInt32BE() / 0x1_0000_0000;
}

function contextOf(
  options: InheritedOptions | ListeningOptions,
  capacity: Capacity,
  log: Log,
): AgentContext & {readonly interceptor: SharedInterceptor} {
  const {echo4Fd, echo6Fd, targetPid, isHome, handshakeTimeoutMs} = options;
  const {memory} = capacity;
  const interceptor = new SharedInterceptor({relayHttp: relayRedirected, memory, random, log});
  // However we end, but by SIGKILL: no rule stays.
  process.once('exit', () => interceptor.close());
  return {
    interceptor,
    capacity,
    targetPid,
    isHome,
    isInCluster: options.kind === 'listening',
    handshakeTimeoutMs,
    echoSockets: {...adoptEcho(4, echo4Fd, log), ...adoptEcho(6, echo6Fd, log)},
    ownPorts: new Set(),
    log,
    random,
  };
}

/** What is done at the end, in its order. */
interface Leaving {
  readonly context: AgentContext & {readonly interceptor: SharedInterceptor};
  /** Tells clients. */
  readonly sayGoodbye: () => void;
  /** Nothing new comes to us: whoever waits for our end need wait no longer. */
  readonly onWithdrawn?: () => void;
  /** The least time for what was told, ms. */
  readonly farewellMs: number;
}

/** Returns what ends the agent, with a reason in words: at once, but for what passes through it. */
function makeLeave({
  context: {interceptor, log},
  sayGoodbye,
  onWithdrawn,
  farewellMs,
}: Leaving): (reason: string) => void {
  let isLeaving = false;
  const leave = async (reason: string): Promise<void> => {
    log.info('leaving', {reason});
    sayGoodbye();
    const said = delay(farewellMs);
    try {
      await interceptor.withdraw();
      onWithdrawn?.();
      await Promise.all([interceptor.linger(), said]);
    } finally {
      process.exit();
    }
  };
  return (reason) => {
    // The death of a parent with threads is told for each of them.
    if (!isLeaving) void leave(reason);
    isLeaving = true;
  };
}

/** Serves the one client at an inherited connection; exits with it. */
export function serveInherited(options: InheritedOptions, log: Log): void {
  const capacity = new Capacity(memoryFor(process.constrainedMemory(), true));
  // Nothing comes between the two ends of a socket pair: there is no other connection to go on over.
  const context = contextOf(options, capacity, log);
  const server = new AgentServer({...context, token: options.token});
  const connection = new Socket({fd: options.connectionFd, readable: true, writable: true});
  const {farewellFd} = options;
  const leave = makeLeave({
    context,
    sayGoodbye: () => server.close(),
    ...(farewellFd !== undefined && {onWithdrawn: () => closeSync(farewellFd)}),
    farewellMs: 0,
  });
  connection.on('close', () => leave('the client left'));
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => leave(signal));
  server.serve(connection);
}

/** Where the launcher could not listen, the agent works all the same. */
function offerMetrics(
  fd: number,
  {capacity, interceptor, log}: AgentContext & {readonly interceptor: SharedInterceptor},
): {metrics?: Metrics; server?: Server} {
  if (!fstatSync(fd).isSocket()) {
    log.error('no metrics: their address can not be listened at');
    return {};
  }
  const metrics = new Metrics(capacity, interceptor);
  return {metrics, server: serveMetrics(fd, metrics, log)};
}

function portOf(server: Server | undefined): number[] {
  const address = server?.address();
  return typeof address === 'object' && address !== null ? [address.port] : [];
}

/** Serves whoever comes to the inherited listening sockets and knows the token. */
export function serveListening(options: ListeningOptions, log: Log): void {
  const {tokenHash, idleTtlMs, resumeWindowMs, handshakeTimeoutMs, listenFds} = options;
  const {metricsFd, isHome, memoryBytes} = options;
  const capacity = new Capacity(memoryBytes ?? memoryFor(process.constrainedMemory(), false));
  const context = contextOf(options, capacity, log);
  const sockets = listenFds.filter((fd) => fstatSync(fd).isSocket());
  if (sockets.length === 0) {
    log.error('no listening socket');
    process.exitCode = 1;
    return;
  }
  const sayGoodbye = (): void => {
    // Nobody is to come to an agent that leaves.
    for (const listener of listeners) listener.close();
    agent.close();
  };
  const leave = makeLeave({context, sayGoodbye, farewellMs: FAREWELL_MS});
  // Half-open connections end as whole ones: nobody says more after an end.
  const listeners = sockets.map((fd) =>
    // What is written is whole: the rest of an answer is not to wait for what came of its beginning (Nagle).
    createServer({noDelay: true}, (connection) => agent.serve(connection))
      .on('error', (error) => log.error('listening', {error: error.message}))
      .listen({fd}),
  );
  const {metrics, server} = metricsFd === undefined ? {} : offerMetrics(metricsFd, context);
  const agent = new AgentServer({
    ...context,
    verifyToken: (token) => timingSafeEqual(createHash('sha256').update(token).digest(), tokenHash),
    resume: {windowMs: resumeWindowMs, tickets: new Tickets()},
    attendance: new Attendance({communicationTimeoutMs: handshakeTimeoutMs, idleTtlMs, leave}),
    ...(metrics !== undefined && {metrics}),
    // In somebody else's pod the same numbers are theirs.
    listenPorts: isHome ? [...portOf(listeners[0]), ...portOf(server)] : [],
  });
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => leave(signal));
  log.info('agent ready', {pid: process.pid, targetPid: options.targetPid, node: process.version});
}
