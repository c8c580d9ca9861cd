/**
 * One client of the agent: its tunnel, and everything that was opened through it.
 *
 * A session shares nothing with another one but the process, the ping sockets and the list of ports
 * that the agent uses itself. When its tunnel ends, the multiplexer resets every stream, and each
 * of them frees what it holds; a session has nothing to clean up beyond.
 */

import {CAPABILITY} from '../tunnel/handshake.ts';
import {Mux} from '../tunnel/mux.ts';
import type {MuxStream, StreamKind} from '../tunnel/types.ts';
import {answerCall} from './calls.ts';
import {dialEcho, type EchoSockets} from './dial/echo.ts';
import {dialTcp} from './dial/tcp.ts';
import {dialUdp, type OwnPorts} from './dial/udp.ts';
import type {Log} from './log.ts';

/** What all sessions of an agent share. */
export interface AgentContext {
  readonly targetPid: number;
  readonly token: Uint8Array;
  readonly handshakeTimeoutMs: number;
  readonly echoSockets: EchoSockets;
  readonly ownPorts: OwnPorts;
  readonly log: Log;
  readonly random: () => number;
}

/** Streams that one client may have open, by kind; above it they are refused with EMFILE. */
const MAX_STREAMS: Readonly<Record<StreamKind, number>> = {
  tcp: 16_384,
  udp: 4096,
  echo: 1024,
  call: 1024,
};

/** Makes the agent's end of a tunnel, which cleans up after itself. */
export function startSession(context: AgentContext): Mux {
  const {log} = context;
  const open: Record<StreamKind, number> = {tcp: 0, udp: 0, echo: 0, call: 0};
  const options = {
    role: 'agent',
    token: context.token,
    random: context.random,
    handshakeTimeoutMs: context.handshakeTimeoutMs,
    capabilities: capabilitiesOf(context.echoSockets),
  } as const;
  return new Mux(options, {
    onReady: (peer) => log.info('client connected', {version: peer.version}),
    onOpen(stream, body) {
      const {kind} = stream;
      if (open[kind] >= MAX_STREAMS[kind]) {
        log.warn('too many streams', {kind, limit: MAX_STREAMS[kind]});
        stream.refuse('EMFILE');
        return;
      }
      open[kind]++;
      dispatch(context, {stream, body, onClosed: () => open[kind]--});
    },
    onClose(error) {
      log.info('client left', {reason: error?.code ?? 'NO_ERROR', origin: error?.origin});
    },
  });
}

function dispatch(
  context: AgentContext,
  opened: {readonly stream: MuxStream; readonly body: Uint8Array; readonly onClosed: () => void},
): void {
  const {stream, body, onClosed} = opened;
  switch (stream.kind) {
    case 'tcp':
      dialTcp(stream, body, onClosed);
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
    default:
      stream.kind satisfies never;
  }
}

function capabilitiesOf(sockets: EchoSockets): number {
  return (sockets[4] ? CAPABILITY.echo4 : 0) | (sockets[6] ? CAPABILITY.echo6 : 0);
}
