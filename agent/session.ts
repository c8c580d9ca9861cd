/**
 * One client of the agent: its tunnel, and everything that was opened through it.
 *
 * A session shares nothing with another one but the process, the ping sockets and the list of ports
 * that the agent uses itself. When its tunnel ends, the multiplexer resets every stream, and each
 * of them frees what it holds; a session has nothing to clean up beyond. A session that may be resumed has
 * all of it for the time without a connection, too, and counts as present.
 */

import {CAPABILITY} from '../tunnel/handshake.ts';
import {Mux} from '../tunnel/mux.ts';
import type {Tickets} from '../tunnel/tickets.ts';
import type {MuxStream, StreamKind} from '../tunnel/types.ts';
import type {Attendance} from './attendance.ts';
import {answerCall} from './calls.ts';
import type {Capacity} from './capacity.ts';
import {dialEcho, type EchoSockets} from './dial/echo.ts';
import {dialTcp} from './dial/tcp.ts';
import {dialUdp, type OwnPorts} from './dial/udp.ts';
import {dialUnix} from './dial/unix.ts';
import type {SharedInterceptor} from './intercept/peers/shared-interceptor.ts';
import type {InterceptClient} from './intercept/subscriptions.ts';
import type {Log} from './log.ts';
import type {Metrics} from './metrics.ts';

/** What all sessions of an agent share. */
export interface AgentContext {
  readonly targetPid: number;
  /** The agent is in the target's place itself: see `options.ts`. */
  readonly isHome: boolean;
  /** Somebody's who came by a cluster's API, and not of this machine. */
  readonly isInCluster?: boolean;
  /** What clients must show, or who else says whether it is right. */
  readonly token?: Uint8Array;
  readonly verifyToken?: (token: Uint8Array) => boolean;
  /** What all clients may have together; without it each has bounds of its own only. */
  readonly capacity?: Capacity;
  /** Where clients are counted. */
  readonly attendance?: Attendance;
  /** TCP ports of the pod that are the agent's own. */
  readonly listenPorts?: readonly number[];
  /** Where everything is counted that an administrator may want to see. */
  readonly metrics?: Metrics;
  readonly handshakeTimeoutMs: number;
  /** How sessions outlive their connections; without it they end with them. */
  readonly resume?: {readonly windowMs: number; readonly tickets: Tickets};
  readonly echoSockets: EchoSockets;
  readonly ownPorts: OwnPorts;
  /** Takes connections to the target for clients. */
  readonly interceptor?: SharedInterceptor;
  readonly log: Log;
  readonly random: () => number;
}

/** Streams that one client may have open, by kind; above it, or above what all may, they get EMFILE. */
const MAX_STREAMS: Readonly<Record<StreamKind, number>> = {
  tcp: 16_384,
  udp: 4096,
  echo: 1024,
  call: 1024,
  unix: 2048,
};

/**
 * What a client's streams may grow to together, in bytes: a quarter of the memory that an agent may have by default,
 * or, in an ephemeral container, takes from the target's pod. Above it a stream keeps its initial window.
 */
const WINDOW_BUDGET_BYTES = 67_108_864;

/** Makes the agent's end of a tunnel, which cleans up after itself. `onEnd` is called when it is over. */
export function startSession(context: AgentContext, onEnd?: () => void): Mux {
  const {capacity, log, metrics} = context;
  const open: Record<StreamKind, number> = {tcp: 0, udp: 0, echo: 0, call: 0, unix: 0};
  let hasJoined = false;
  let hasWarned = false;
  const options = {
    role: 'agent',
    ...(context.token !== undefined && {token: context.token}),
    ...(context.verifyToken !== undefined && {verifyToken: context.verifyToken}),
    random: context.random,
    windowBudgetBytes: WINDOW_BUDGET_BYTES,
    handshakeTimeoutMs: context.handshakeTimeoutMs,
    capabilities: capabilitiesOf(context.echoSockets),
    ...(context.resume !== undefined && {resume: context.resume}),
    ...(capacity !== undefined && {memory: capacity.memory}),
  } as const;
  const mux: Mux = new Mux(options, {
    onReady(peer) {
      if (capacity?.admitClient() === false) {
        log.warn('too many clients');
        mux.close('TOO_MANY_CLIENTS');
        return;
      }
      log.info('client connected', {version: peer.version});
      hasJoined = true;
      metrics?.clientJoined(mux.counters);
      context.attendance?.joined();
    },
    onOpen(stream, body) {
      const {kind} = stream;
      if (open[kind] >= MAX_STREAMS[kind] || capacity?.admitStream() === false) {
        if (!hasWarned) log.warn('too many streams', {kind, limit: MAX_STREAMS[kind]});
        // Not for each of them: a client would fill the log.
        hasWarned = true;
        metrics?.streamRefused(kind);
        stream.refuse('EMFILE');
        return;
      }
      open[kind]++;
      metrics?.streamOpened(kind);
      const onClosed = (): void => {
        open[kind]--;
        capacity?.streamLeft();
        metrics?.streamClosed(kind);
      };
      try {
        dispatch(own, {stream, body, onClosed});
      } catch (error) {
        onClosed();
        throw error;
      }
    },
    onSuspended() {
      log.info('client lost', {windowMs: context.resume?.windowMs});
    },
    onResumed() {
      log.info('client back');
    },
    onClose(error) {
      log.info('client left', {reason: error?.code ?? 'NO_ERROR', origin: error?.origin});
      const waitedMs = error?.code === 'RESUME_TIMEOUT' ? (context.resume?.windowMs ?? 0) : 0;
      if (hasJoined) capacity?.clientLeft();
      if (hasJoined) context.attendance?.left(error === undefined, waitedMs);
      metrics?.clientLeft(mux.counters);
      onEnd?.();
    },
  });
  const client: InterceptClient = {
    open: (body, handler) => mux.open('tcp', body, handler),
    get isAway() {
      return !mux.isReady;
    },
  };
  const own = {...context, client};
  return mux;
}

function dispatch(
  context: AgentContext & {readonly client: InterceptClient},
  opened: {readonly stream: MuxStream; readonly body: Uint8Array; readonly onClosed: () => void},
): void {
  const {stream, body, onClosed} = opened;
  switch (stream.kind) {
    case 'tcp':
      dialTcp(stream, body, {capacity: context.capacity, onClosed});
      break;
    case 'udp':
      dialUdp(stream, body, {ownPorts: context.ownPorts, onClosed});
      break;
    case 'echo':
      dialEcho(stream, body, {sockets: context.echoSockets, onClosed});
      break;
    case 'call':
      answerCall(stream, body, {context, onClosed});
      break;
    case 'unix':
      dialUnix(stream, body, {
        root: `/proc/${context.targetPid}/root`,
        capacity: context.capacity,
        onClosed,
      });
      break;
    default:
      stream.kind satisfies never;
  }
}

function capabilitiesOf(sockets: EchoSockets): number {
  const echo = (sockets[4] ? CAPABILITY.echo4 : 0) | (sockets[6] ? CAPABILITY.echo6 : 0);
  return echo | CAPABILITY.unix;
}
